"""Datamarts: SQL statements that run inside BigQuery."""
