"""Prompts to files."""
