"""How clips and their texts lie on disk: one small file a published layout, all behind ``listing.Listing``."""
