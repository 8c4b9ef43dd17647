"""System procedures that scripts and lone statements CALL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from etlkit.local.bigquery.extensions.statement_context import StatementContext

KNOWN: Final[dict[str, Callable[[list[Any], StatementContext], None]]] = {}
"""By upper-case name; each gets the values of its arguments."""
