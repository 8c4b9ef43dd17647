"""Names of tables, and text that is safe inside SQL."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from etlkit.errors import ConfigError

_TABLE = re.compile(
    r"(?:(?P<project>[a-z][a-z0-9.:-]*)[.:])?(?P<dataset>\w{1,1024})\.(?P<table>[^.`/\\]{1,1024})"
)
_LABEL = re.compile(r"[^a-z0-9_-]")
_MAX_LABEL = 63
"""Characters a label value may have: https://cloud.google.com/bigquery/docs/labels-intro"""


@dataclass(frozen=True, slots=True)
class TableName:
    """A table's full name."""

    project: str
    dataset: str
    table: str

    @property
    def sql(self) -> str:
        """Quoted for SQL."""
        return f"`{self.project}.{self.dataset}.{self.table}`"

    @property
    def path(self) -> str:
        """As the Storage APIs want it."""
        return f"projects/{self.project}/datasets/{self.dataset}/tables/{self.table}"

    @property
    def dataset_id(self) -> str:
        """`project.dataset`."""
        return f"{self.project}.{self.dataset}"

    def __str__(self) -> str:
        return f"{self.project}.{self.dataset}.{self.table}"


def check_table(text: str) -> str:
    """Refuse what cannot be a table name, before any I/O.

    Raises:
        ConfigError: It is not `dataset.table` or `project.dataset.table`.
    """
    if not isinstance(text, str) or _TABLE.fullmatch(text.replace("`", "")) is None:
        raise ConfigError(
            f"{text!r} is no table name: write dataset.table or project.dataset.table"
        )
    return text


def parse_table(text: str, project: str) -> TableName:
    """Read `dataset.table` or `project.dataset.table`; backticks are ignored."""
    match = _TABLE.fullmatch(check_table(text).replace("`", ""))
    if match is None:
        raise ConfigError(f"{text!r} is no table name")
    return TableName(match["project"] or project, match["dataset"], match["table"])


def literal(text: str) -> str:
    """A STRING literal. JSON's escapes are a subset of BigQuery's while emoji stay in one piece.

    Source: https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical#string_and_bytes_literals
    """
    return json.dumps(text, ensure_ascii=False)


def label(value: str) -> str:
    """Make a valid label value: lower case letters, digits, `_` and `-`, at most 63."""
    return _LABEL.sub("-", value.lower())[:_MAX_LABEL]
