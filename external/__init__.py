"""Models that others published, rewritten here. Each package imports ``config`` and torch only."""
