"""Labels of tables, datasets and jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from bqemulator.domain.errors import ValidationError

from etlkit.local.bigquery.rules.registry import Asked, rule

MAX_LABELS: Final = 64
MAX_LENGTH: Final = 63

_REQUIREMENTS: Final = "labels-intro#requirements"


@rule(
    Asked.LABELS,
    "Label keys and values have lower-case letters, digits, `_` and `-`, at most 63 characters, and a "
    "key begins with a letter.",
    _REQUIREMENTS,
)
def label_characters(labels: Mapping[str, str | None]) -> None:
    """Refuse other characters, and texts that are too long."""
    for key, value in labels.items():
        if not _is_allowed(key) or not key[:1].isalpha():
            raise ValidationError(
                f'Invalid label key "{key}". Label keys must start with a lowercase letter, can only '
                "contain lowercase letters, numeric characters, underscores and dashes, and are 1 to "
                "63 characters long. International characters are allowed."
            )
        if value is not None and not _is_allowed(value):
            raise ValidationError(
                f'Invalid label value "{value}" of key "{key}". Label values can only contain '
                "lowercase letters, numeric characters, underscores and dashes, and are at most 63 "
                "characters long. International characters are allowed."
            )


@rule(Asked.LABELS, "A table, dataset or job has at most 64 labels.", _REQUIREMENTS)
def label_count(labels: Mapping[str, str | None]) -> None:
    """Refuse a 65th label."""
    if len(labels) > MAX_LABELS:
        raise ValidationError(
            f"At most {MAX_LABELS} labels are allowed, but there are {len(labels)}"
        )


def _is_allowed(text: str) -> bool:
    letters = (c for c in text if c not in "_-" and not c.isnumeric())
    return len(text) <= MAX_LENGTH and all(c.isalpha() and c == c.lower() for c in letters)
