"""A transform as a BigQuery remote function: the HTTP service, and the SQL that calls it.

BigQuery's contract: https://cloud.google.com/bigquery/docs/remote-functions
"""
