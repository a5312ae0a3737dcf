"""Clips of several signs read as sentences: which signs, in which order."""
