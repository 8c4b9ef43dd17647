"""What is known about statements, kept for later processes of the same user.

A process that only sends statements which were analyzed before never loads the analyzer.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from etlkit.local.bigquery.resolved_trees import Analysis
from etlkit.local.bigquery.sql_types import SqlType
from etlkit.local.bigquery.user_cache import KeptTexts

Key = tuple[str, ...]


class AnalysisCache:
    """Results by what they were found for.

    Args:
        version: Changes with all that decides about a result.
    """

    def __init__(self, version: str) -> None:
        self._kept = KeptTexts("googlesql", version)

    def get(self, key: Key) -> Analysis | None:
        """A result; None = it is not known."""
        found = self._kept.get(_digest(key))
        return None if found is None else _decoded(found)

    def put(self, key: Key, analysis: Analysis) -> None:
        """Keep a result."""
        self._kept.put(_digest(key), json.dumps(_encoded(analysis)))

    def close(self) -> None:
        """Close the file."""
        self._kept.close()


def _digest(key: Key) -> bytes:
    return hashlib.sha256(json.dumps(key).encode()).digest()


def _encoded(analysis: Analysis) -> dict[str, Any]:
    return {
        "kind": analysis.kind,
        "columns": [(name, kind.text) for name, kind in analysis.columns],
        "reads": sorted(analysis.reads),
        "writes": sorted(analysis.writes),
        "columns_read": {name: list(each) for name, each in analysis.columns_read.items()},
        "functions": sorted(analysis.functions),
        "target": analysis.target,
        "num_unnamed": analysis.num_unnamed,
    }


def _decoded(text: str) -> Analysis:
    body = json.loads(text)
    return Analysis(
        body["kind"],
        tuple((name, SqlType.parse(kind)) for name, kind in body["columns"]),
        frozenset(body["reads"]),
        frozenset(body["writes"]),
        {name: tuple(each) for name, each in body["columns_read"].items()},
        frozenset(body["functions"]),
        tuple(body["target"]),
        body["num_unnamed"],
    )
