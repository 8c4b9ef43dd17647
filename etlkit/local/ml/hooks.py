"""All of BigQuery ML that stands before the emulator, put into the seam."""

from __future__ import annotations

from bqemulator.sql import translator

from etlkit.local.front import seam
from etlkit.local.ml import annotate, catalog, functions, predict, statements


def apply() -> None:
    """Add the hooks, before those of object tables: they see queries as they were written."""
    catalog.apply()
    # The emulator refuses every text with this word, be it in a comment.
    translator._UNSUPPORTED_KEYWORDS -= {"ML.PREDICT"}  # noqa: SLF001
    seam.STARTS.append(functions.register)
    seam.STATEMENTS.extend([statements.create_model, statements.drop_model])
    # The functions last: what is left of them after ML.PREDICT has taken what feeds a model.
    seam.QUERIES.extend([predict.rewrite, annotate.rewrite, functions.rewrite])
    seam.INVOLVED.extend([predict.is_involved, annotate.is_involved, functions.is_involved])
