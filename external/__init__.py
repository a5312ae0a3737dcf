"""Models that others published, rewritten here. Each package imports ``config``, torch and timm only."""
