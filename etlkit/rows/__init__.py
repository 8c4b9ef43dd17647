"""Rows, columns and types: Python values to Arrow and back."""
