"""What a check has found, for people and as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from etlkit.sql_check.known import Columns
from etlkit.sql_check.sql_text import Place

State = Literal["ok", "failed", "unchecked"]


@dataclass(frozen=True)
class Finding:
    """Something that BigQuery or etlkit would refuse.

    Attributes:
        message: One sentence, or several.
        place: Where it is.
        hint: What to do; empty = the message says it.
    """

    message: str
    place: Place
    hint: str = ""


@dataclass
class JobReport:
    """One job.

    Attributes:
        name: As in `JobToCheck`.
        kind: `transfer`, `datamart`, `check` or `job`.
        file: Its module or SQL file; None = not known.
        reads: Tables, models and functions, `dataset.name`.
        writes: The same.
        columns_in: Of the source; None = not known.
        columns_out: Of the rows that it gives; None = not known.
        is_complete: Whether these are all columns.
        changes: What a run would change in its target beside the rows.
        findings: What is wrong.
        notes: Why something could not be checked.
        is_config: Whether its description is wrong, so that there is nothing to analyze.
        num_statements: How many were analyzed.
    """

    name: str
    kind: str
    file: str | None
    reads: list[str] = field(default_factory=list)
    writes: list[str] = field(default_factory=list)
    columns_in: Columns | None = None
    columns_out: Columns | None = None
    is_complete: bool = True
    changes: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    is_config: bool = False
    num_statements: int = 0

    @property
    def state(self) -> State:
        """How it ended."""
        if self.findings:
            return "failed"
        return "unchecked" if self.notes else "ok"

    def as_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "job": self.name,
            "kind": self.kind,
            "file": self.file,
            "state": self.state,
            "reads": self.reads,
            "writes": self.writes,
            "columns_in": _columns(self.columns_in),
            "columns_out": _columns(self.columns_out),
            "columns_out_complete": self.columns_out is not None and self.is_complete,
            "changes": self.changes,
            "errors": [_finding(each) for each in self.findings],
            "notes": self.notes,
        }


@dataclass(frozen=True)
class CheckReport:
    """All jobs of a check.

    Attributes:
        catalog: Where tables were looked up.
        jobs: In the order in which they were checked.
        seconds: How long it took.
    """

    catalog: str
    jobs: list[JobReport]
    seconds: float

    def refuse(self, file: str, problem: str) -> None:
        """Add a file that cannot be read as a job."""
        finding = Finding(problem, Place(file))
        self.jobs.append(JobReport(file, "job", file, findings=[finding], is_config=True))

    def skip(self, file: str, reason: str) -> None:
        """Add something that is left out."""
        self.jobs.append(JobReport(file, "job", file, notes=[reason]))

    @property
    def exit_status(self) -> int:
        """0 nothing is wrong, 1 something would be refused, 2 a description is wrong."""
        if any(job.is_config for job in self.jobs):
            return 2
        return int(any(job.findings for job in self.jobs))

    def as_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        states = [job.state for job in self.jobs]
        return {
            "state": "failed" if "failed" in states else "ok",
            "catalog": self.catalog,
            "num_statements": sum(job.num_statements for job in self.jobs),
            "seconds": self.seconds,
            "jobs": [job.as_json() for job in self.jobs],
        }


def _columns(columns: Columns | None) -> list[dict[str, Any]] | None:
    if columns is None:
        return None
    return [
        {
            "name": each.name,
            "type": each.type,
            "mode": "REQUIRED" if each.is_required else "NULLABLE",
        }
        for each in columns
    ]


def _finding(finding: Finding) -> dict[str, Any]:
    place = finding.place
    return {
        "message": finding.message,
        "hint": finding.hint or None,
        "file": place.file,
        "line": place.line,
        "column": place.column,
        "where": place.what or None,
    }
