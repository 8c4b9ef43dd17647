"""The local server process and how its clients find it."""
