"""The embedded BigQuery: the emulator, its patches and its extensions."""
