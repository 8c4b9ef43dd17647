"""BigQuery ML for imported models, beside the emulator: files, runtimes, images, SQL functions.

`tensors`, `pixels`, `runtimes` and `store` know nothing of SQL; `arrays`, `predictor` and `outputs`
bring Arrow columns to a model and back; the rest hooks them into statements.
"""
