"""The list of all rules. A function is in it because it is decorated, and is the one that refuses."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeVar

_F = TypeVar("_F", bound=Callable[..., Any])

DOCS: Final = "https://cloud.google.com/bigquery/docs/"


class Asked(StrEnum):
    """When a rule is asked."""

    STATEMENT = "each statement"
    """Gets its tree and the `StatementContext`, before it runs."""
    TRANSACTION = "each statement of a transaction"
    """Gets its tree, before it runs."""
    CONFLICT = "statements that wait for a table"
    DEFINITION = "each table that is created or changed"
    """Gets its `TableMeta`, and the tree of its CREATE TABLE; None = it came over REST."""
    UPDATE = "each update of a table over REST"
    """Gets the new and the old `TableMeta`."""
    WRITTEN = "rows that a statement or a load has written"
    """Gets the `Written`, before the transaction is committed."""
    RESULT = "rows that a query returns"
    """Gets the Arrow table."""
    APPEND = "rows of appends and insertAll"
    """Gets the Arrow table and the table's fields, and yields index and message of each bad row."""
    FIELDS = "fields of appends and insertAll"
    READ = "each read session"
    """Gets the `TableMeta` and the row restriction."""
    RESOURCE = "each request for a dataset, table or job"
    LABELS = "labels of each dataset, table and job"
    """Gets the labels."""
    JOB = "each query job"
    """Gets the text."""


@dataclass(frozen=True)
class Rule:
    """One thing that BigQuery refuses.

    Attributes:
        name: The name of its function.
        area: The module, e.g. `clustering`.
        asked: When it is asked.
        says: What BigQuery does, in one sentence.
        source: Where BigQuery's documentation says so.
        check: The function. It raises if the rule is broken.
    """

    name: str
    area: str
    asked: Asked
    says: str
    source: str
    check: Callable[..., Any]


_RULES: Final[list[Rule]] = []


def rule(asked: Asked, says: str, source: str) -> Callable[[_F], _F]:
    """Put a function on the list.

    Args:
        asked: When it is asked.
        says: What BigQuery does, in one sentence.
        source: A page below `DOCS`, or a whole address.
    """

    def add(function: _F) -> _F:
        address = source if source.startswith("https://") else DOCS + source
        area = function.__module__.rpartition(".")[2]
        _RULES.append(Rule(function.__name__, area, asked, says, address, function))
        return function

    return add


def all_rules() -> list[Rule]:
    """All rules, by area and name. Imports every module of this package."""
    package = importlib.import_module(__package__ or "")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return sorted(_RULES, key=lambda each: (each.area, each.name))


def ask(asked: Asked, *arguments: Any) -> None:
    """Call all rules that are asked at this point. The first one that is broken raises.

    Args:
        asked: The point.
        arguments: What the rules of this point get.
    """
    for each in _RULES:
        if each.asked is asked:
            each.check(*arguments)


def found(asked: Asked, *arguments: Any) -> Iterator[Any]:
    """What the rules of this point find wrong, where they name it instead of raising."""
    for each in _RULES:
        if each.asked is asked:
            yield from each.check(*arguments)
