"""The local server process, and how its clients start, find and hold it."""
