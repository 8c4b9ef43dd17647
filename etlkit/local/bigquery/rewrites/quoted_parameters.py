"""Query parameters with backticks: ``@`my value` ``.

Real BigQuery: the name of a parameter may be quoted, and then have any character. The emulator: it only
found names of letters, digits and underscores, without backticks.
"""

from __future__ import annotations

import re
from typing import Any

from bqemulator.sql import parameters
from sqlglot import exp

from etlkit.local.bigquery.patches.table import PATCHES
from etlkit.local.bigquery.rewrites.names import Names


def rewrite(tree: exp.Expr, names: Names) -> bool:
    """Give quoted parameters plain names."""
    del names
    quoted = [
        node for node in tree.find_all(exp.Parameter) if isinstance(node.this, exp.Identifier)
    ]
    for node in quoted:
        node.set("this", exp.var(_plain_name(node.this.name)))
    return bool(quoted)


def _plain_name(name: str) -> str:
    return re.sub(r"\W", lambda match: f"_{ord(match[0]):x}_", name)


def _bind(sql: str, given: list[dict[str, Any]]) -> tuple[str, list[Any]]:
    named = [{**each, "name": _plain_name(each["name"])} for each in given]
    bound: tuple[str, list[Any]] = _plain_bind(sql, named)
    return bound


_plain_bind = parameters._bind_named  # noqa: SLF001


def apply() -> None:
    """Bind values by their plain names."""
    PATCHES.replace("bqemulator.sql.parameters:_bind_named", _bind)
