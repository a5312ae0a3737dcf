"""Does a model obey its text, and can its clips be read?"""
