"""Runs a transfer: rows from a source through a transform to a sink."""
