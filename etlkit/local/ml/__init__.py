"""BigQuery ML for imported and remote models.

`tensors`, `pixels`, `runtimes` and `model_files` know nothing of SQL. `arrow_columns`, `predictor` and
`output_column` carry Arrow columns to a model and back. The others execute and rewrite
statements; `extension` adds them to the local BigQuery.
"""
