"""One backbone a file, each with its class and its entry of the registry, ``ARCHITECTURE``."""
