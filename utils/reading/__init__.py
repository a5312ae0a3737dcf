"""Video files, animations and folders of frames -> the frames that a player would show at given moments, small."""
