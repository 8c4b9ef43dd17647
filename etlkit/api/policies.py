"""What a job does with rows and columns that do not fit it. No imports: `--help` names these."""

from __future__ import annotations

from typing import Literal

OnRowError = Literal["fail", "skip", "reject"]
OnSchemaChange = Literal["fail", "add_columns", "drop_columns"]
