"""`HttpSink`: rows as requests to a web API, with their state in BigQuery."""
