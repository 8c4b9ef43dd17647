"""Adds BigQuery ML to the hooks of the local BigQuery."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from bqemulator.sql import translator

from etlkit.local.bigquery.extensions import hooks
from etlkit.local.ml import annotate_image, catalog, image_functions, predict, statements

if TYPE_CHECKING:
    from pathlib import Path


def apply(buckets_root: Path) -> None:
    """Add the hooks, before those of object tables, so that they see the original query."""
    catalog.apply()
    # The emulator refuses every statement with this word, even in a comment.
    translator._UNSUPPORTED_KEYWORDS -= {"ML.PREDICT"}  # noqa: SLF001
    for register in (image_functions.register, annotate_image.register):
        hooks.STARTS.append(partial(register, buckets_root=buckets_root))
    hooks.STATEMENTS.extend([statements.create_model, statements.drop_model])
    # Image functions last: ML.PREDICT first takes over those whose result goes into a model.
    hooks.QUERIES.extend([predict.rewrite, annotate_image.rewrite, image_functions.rewrite])
    hooks.INVOLVED.extend(
        [predict.is_involved, annotate_image.is_involved, image_functions.is_involved]
    )
