"""Layers that several architectures consist of. They take plain values, never a Config."""
