"""One file a command: its flags (``add``) and what it does (``run``). Heavy imports stand inside ``run``."""
