"""Imports what every worker needs, and nothing of the user's: for the process that forks workers."""

from __future__ import annotations

import importlib

from etlkit.bigquery.client import import_without_pandas

import_without_pandas()
for _name in (
    "etlkit.bigquery.shards.shard_reader",
    "etlkit.bigquery.shards.shard_writer",
    "etlkit.bigquery.storage.append_rows",
    "etlkit.bigquery.storage.read_rows",
    "etlkit.engine.worker_run",
    "google.cloud.bigquery_storage_v1",
    "psutil",
):
    importlib.import_module(_name)
