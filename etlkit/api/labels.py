"""Labels of jobs and tables: what BigQuery takes as a key and as a value."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

from etlkit.errors import ConfigError

MAX_LABEL_CHARS = 63
"""Of a key and of a value: https://cloud.google.com/bigquery/docs/labels-intro#requirements"""

MAX_LABELS = 62
"""BigQuery takes 64 a job or table, of which etlkit sets two."""

_RULE = "it has lower-case letters, digits, underscores and dashes, at most 63 characters"


def check_labels(labels: Mapping[str, str], where: str) -> None:
    """Raise if BigQuery would refuse a label. No I/O.

    Args:
        labels: Key to value.
        where: What has them, for the message, e.g. `TransferJob(labels=…)`.

    Raises:
        ConfigError: Says which key or value, and the rule.
    """
    if len(labels) > MAX_LABELS:
        raise ConfigError(f"{where}: {len(labels)} labels; at most {MAX_LABELS} are possible")
    for key, value in labels.items():
        if not _is_text(key) or not key or unicodedata.category(key[0])[0] != "L":
            raise ConfigError(
                f"{where}: {key!r} cannot be a label's key: {_RULE}, and begins with a letter"
            )
        if not _is_text(value):
            raise ConfigError(f"{where}: {key}={value!r} cannot be a label's value: {_RULE}")


def _is_text(text: object) -> bool:
    if not isinstance(text, str) or len(text) > MAX_LABEL_CHARS or text != text.lower():
        return False
    return all(c in "_-" or unicodedata.category(c)[0] in "LMN" for c in text)
