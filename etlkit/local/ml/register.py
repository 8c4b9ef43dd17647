"""All of BigQuery ML that stands before the emulator, put into the seam."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from bqemulator.sql import translator

from etlkit.local.bigquery.extensions import hooks
from etlkit.local.ml import annotate, catalog, functions, predict, statements

if TYPE_CHECKING:
    from pathlib import Path


def apply(buckets_root: Path) -> None:
    """Add the hooks, before those of object tables: they see queries as they were written."""
    catalog.apply()
    # The emulator refuses every text with this word, be it in a comment.
    translator._UNSUPPORTED_KEYWORDS -= {"ML.PREDICT"}  # noqa: SLF001
    for register in (functions.register, annotate.register):
        hooks.STARTS.append(partial(register, buckets_root=buckets_root))
    hooks.STATEMENTS.extend([statements.create_model, statements.drop_model])
    # The functions last: what is left of them after ML.PREDICT has taken what feeds a model.
    hooks.QUERIES.extend([predict.rewrite, annotate.rewrite, functions.rewrite])
    hooks.INVOLVED.extend([predict.is_involved, annotate.is_involved, functions.is_involved])
