"""The Pocket file, and the folders that long work leaves behind."""
