"""Lineage of target rows: what is kept of each, and the way back from a row to its source."""
