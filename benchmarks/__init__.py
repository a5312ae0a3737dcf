"""Scripts that measure cost and quality, print a table and write JSON to ``benchmarks/results``."""
