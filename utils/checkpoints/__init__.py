"""Checkpoint files: written whole, vouched for, listed."""
