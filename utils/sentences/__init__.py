"""Clips of single signs joined into clips of sentences: which sentences, how frames are joined, what is written."""
