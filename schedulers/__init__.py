"""Noise schedules and sampling steps."""
