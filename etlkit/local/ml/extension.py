"""Adds BigQuery ML to the local BigQuery."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bqemulator.sql import translator

from etlkit.local.bigquery.extensions import hooks
from etlkit.local.bigquery.patches.table import PATCHES
from etlkit.local.ml import annotate_image, catalog, image_functions, predict, statements

if TYPE_CHECKING:
    from pathlib import Path


def apply(buckets_root: Path) -> None:
    """Add the statements and functions of BigQuery ML. Called once, before the server starts."""
    catalog.apply()
    # The emulator refuses every statement with this word, even in a comment.
    keywords = translator._UNSUPPORTED_KEYWORDS - {"ML.PREDICT"}  # noqa: SLF001
    PATCHES.replace("bqemulator.sql.translator:_UNSUPPORTED_KEYWORDS", keywords)
    hooks.STATEMENTS.extend([statements.create_model, statements.drop_model])
    predict.declare_function()
    annotate_image.declare_functions(buckets_root)
    image_functions.declare_functions(buckets_root)
