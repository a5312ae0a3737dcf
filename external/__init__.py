"""Models that others published, rewritten here. They import ``config``, torch and ``models.layers`` only."""
