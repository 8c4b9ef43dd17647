"""Reports as the ledger keeps them: JSON without what says nothing, and not too much of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields
from typing import Any, TypeAlias

from etlkit.api.report import DatamartReport, RunReport, StatementReport
from etlkit.api.worker_report import WorkerReport
from etlkit.api.workflow_report import FailedAttempt, TaskReport, WorkflowReport

Stored: TypeAlias = RunReport | DatamartReport | WorkflowReport | TaskReport

MAX_REPORT_CHARS = 200_000
"""A longer report is shortened: it is for people."""

_MAX_TEXT_CHARS = 2_000
_MAX_ITEMS = 50

_KINDS: dict[str, type[Any]] = {
    "transfer": RunReport,
    "datamart": DatamartReport,
    "workflow": WorkflowReport,
    "task": TaskReport,
}
_PARTS: dict[tuple[type[Any], str], type[Any]] = {
    (RunReport, "workers"): WorkerReport,
    (DatamartReport, "statements"): StatementReport,
    (StatementReport, "children"): StatementReport,
    (WorkflowReport, "tasks"): TaskReport,
    (TaskReport, "statements"): StatementReport,
    (TaskReport, "children"): TaskReport,
    (TaskReport, "failed_attempts"): FailedAttempt,
}
"""Fields that hold reports themselves."""


def to_stored(report: Stored) -> dict[str, Any]:
    """A report as the ledger keeps it; `kind_of_report` says what it was.

    A task's own value is kept in another column, and so is not among it.
    """
    name = next(name for name, kind in _KINDS.items() if isinstance(report, kind))
    return {"kind_of_report": name, **_shortened(_said(report))}


def from_stored(stored: Mapping[str, Any]) -> Stored:
    """The report of `to_stored`, as far as it was kept.

    Fields that this version of etlkit does not know are left out.
    """
    report: Stored = _made(_KINDS[stored["kind_of_report"]], stored)
    return report


def _said(report: Any) -> dict[str, Any]:
    """The fields whose value is not their default."""
    said: dict[str, Any] = {}
    for field in fields(report):
        value = getattr(report, field.name)
        if value == _default(field) or field.name == "value":
            continue
        if (type(report), field.name) in _PARTS:
            said[field.name] = [_said(each) for each in value]
        else:
            said[field.name] = value
    return said


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _made(kind: type[Any], stored: Mapping[str, Any]) -> Any:
    values = {}
    for field in fields(kind):
        if field.name not in stored:
            continue
        value, part = stored[field.name], _PARTS.get((kind, field.name))
        if part is not None:
            values[field.name] = [_made(part, each) for each in value]
        else:
            values[field.name] = value
    return kind(**values)


def _shortened(said: dict[str, Any]) -> dict[str, Any]:
    """Cut long texts and lists until the report is short enough; a graph keeps all its tasks."""
    for most, whole in (
        (_MAX_TEXT_CHARS, ("tasks", "children")),
        (_MAX_TEXT_CHARS // 10, ("tasks", "children")),
        (_MAX_TEXT_CHARS // 10, ("tasks",)),
    ):
        if len(json.dumps(said, ensure_ascii=False, default=str)) <= MAX_REPORT_CHARS:
            break
        said = {name: _cut(name, value, most, whole) for name, value in said.items()}
    return said


def _cut(name: str, value: Any, most: int, whole: Sequence[str]) -> Any:
    if isinstance(value, str) and len(value) > most:
        return f"{value[:most]} …"
    if isinstance(value, dict):
        return {key: _cut(key, inner, most, whole) for key, inner in value.items()}
    if isinstance(value, list):
        kept = value if name in whole else value[:_MAX_ITEMS]
        return [_cut("", inner, most, whole) for inner in kept]
    return value
