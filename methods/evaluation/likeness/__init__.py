"""Are generated clips like real ones where it counts: are there hands, is there variety, and can the measures tell?"""
