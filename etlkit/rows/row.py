"""`Row`: a row as transforms see it."""

from __future__ import annotations

from typing import Any, TypeAlias

Row: TypeAlias = dict[str, Any]
"""One row: column name to native Python value. JSON columns arrive parsed."""
