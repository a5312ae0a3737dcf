"""Device, files, logs and pictures."""
