"""`etlkit run --diff`: old and new code of a transform over the same rows."""
