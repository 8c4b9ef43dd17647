"""Names of tables, and text that is safe inside SQL."""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass

from etlkit.api.labels import MAX_LABEL_CHARS
from etlkit.errors import ConfigError

_TABLE = re.compile(
    r"(?:(?P<project>(?:[a-z0-9.-]+:)?[a-z][a-z0-9-]*)[.:])?"
    r"(?P<dataset>[A-Za-z0-9_]{1,1024})\.(?P<table>[^.]+)",
    re.DOTALL,
)
_TABLE_CATEGORIES = frozenset({"Pc", "Pd", "Zs"})
"""Connectors, dashes and spaces, beside letters, marks and numbers: the characters of a table's name,
https://cloud.google.com/bigquery/docs/tables#table_naming"""

MAX_TABLE_BYTES = 980
"""Bytes of a table's name in UTF-8. BigQuery takes 1,024; etlkit adds to it for rejected rows and for a
table that is made anew."""

_DECORATORS = {
    "$": "a `$` names one partition of a table",
    "*": "a `*` names several tables",
    "@": "an `@` names an earlier state of a table",
}
_LABEL = re.compile(r"[^a-z0-9_-]")


@dataclass(frozen=True, slots=True)
class TableName:
    """A table's full name. Its project is empty where none is known, as in a check of files."""

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
        return ".".join(filter(None, (self.project, self.dataset, self.table)))


def check_table(text: str) -> str:
    """Raise if a text is not the name of a table that rows can be written to. No I/O.

    Raises:
        ConfigError: It is not `dataset.table` or `project.dataset.table`, or BigQuery refuses it.
    """
    _match(text)
    return text


def is_table(text: str) -> bool:
    """Whether a text looks like `dataset.table` or `project.dataset.table`, without backticks."""
    return _TABLE.fullmatch(text) is not None


def parse_table(text: str, project: str) -> TableName:
    """Read `dataset.table` or `project.dataset.table`; backticks are ignored.

    Raises:
        ConfigError: As `check_table`.
    """
    match = _match(text)
    return TableName(match["project"] or project, match["dataset"], match["table"])


def work_dataset(name: str, project: str) -> tuple[str, str]:
    """Split `dataset` or `project.dataset`.

    Raises:
        ConfigError: It is neither.
    """
    owner, _, dataset = name.rpartition(".")
    if not dataset.isidentifier():
        raise ConfigError(f"work_dataset={name!r}: write dataset or project.dataset")
    return owner or project, dataset


def _match(text: str) -> re.Match[str]:
    found = _TABLE.fullmatch(text.replace("`", "")) if isinstance(text, str) else None
    if found is None:
        raise ConfigError(
            f"{text!r} is not a table name: write dataset.table or project.dataset.table. A dataset "
            "has letters, digits and underscores"
        )
    for character in found["table"]:
        category = unicodedata.category(character)
        if category[0] not in "LMN" and category not in _TABLE_CATEGORIES:
            why = _DECORATORS.get(character, "a table's name has no such character")
            raise ConfigError(
                f"{text!r}: {character!r} cannot be in the name of a target, because {why}. BigQuery "
                "allows letters, digits, marks, underscores, dashes and spaces"
            )
    num_bytes = len(found["table"].encode())
    if num_bytes > MAX_TABLE_BYTES:
        raise ConfigError(
            f"the table's name {found['table'][:40]!r}… has {num_bytes:,} bytes; at most "
            f"{MAX_TABLE_BYTES} are possible, because etlkit adds to it for rejected rows"
        )
    return found


def swap_name(target: TableName, run_id: str) -> TableName:
    """The table beside a target that a run fills and then puts in the target's place."""
    return TableName(target.project, target.dataset, f"{target.table}__{run_id}")


def literal(text: str) -> str:
    """A STRING literal. JSON's escapes are a subset of BigQuery's while emoji stay in one piece.

    Source: https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical#string_and_bytes_literals
    """
    return json.dumps(text, ensure_ascii=False)


def label(value: str) -> str:
    """Make a valid label value: lower case letters, digits, `_` and `-`, at most 63."""
    return _LABEL.sub("-", value.lower())[:MAX_LABEL_CHARS]


def shard_events_name(dataset: tuple[str, str], run_id: str) -> TableName:
    """Where the events of the shards of a run are, if workers share it.

    Args:
        dataset: Project and dataset of the work tables.
        run_id: The run.
    """
    return TableName(*dataset, f"shd_{run_id}")
