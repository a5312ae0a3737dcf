"""One backbone a file, each with one class and one ``build_*`` function."""
