"""One job while it is checked: its report grows with each statement."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from etlkit.api.datamart import Datamart
from etlkit.api.job import TransferJob
from etlkit.bigquery.parameters import parameter_types
from etlkit.errors import ConfigError, EtlkitError
from etlkit.sql_check.analyzer import Analysis, Analyzer
from etlkit.sql_check.jobs import JobToCheck
from etlkit.sql_check.known import Columns, Known, KnownTable
from etlkit.sql_check.report import Finding, JobReport
from etlkit.sql_check.sql_text import Origin, Place, SqlText
from etlkit.sql_check.world import World
from etlkit.variables.sql_tokens import tokenize

_MAX_FINDINGS = 20
"""Of one statement: behind the first ones, more are rarely news."""

_UNKNOWN_NAMES = (
    re.compile(r"Unrecognized name: (?P<name>[^;]+)"),
    re.compile(r"Name (?P<name>\S+) not found inside"),
    re.compile(r"Field name (?P<name>\S+) does not exist in"),
)
"""Errors after which the statement can be analyzed further, with another value in the name's place."""

_ANY_VALUE = "@etlkit_any_value"
"""A parameter without a type fits everywhere; NULL, for instance, cannot be compared."""

_NEXT_STATEMENT = "Syntax error: Expected end of input"
"""What the analyzer says of a second statement, where it begins."""

_MISSING_TABLE = re.compile(r"(?:Table|Model|TVF|Function|Procedure) not found: (?P<name>[^;\s]+)|"
    r"Table-valued function not found: (?P<other>[^;\s]+)|"
    r"Not found: \w+ (?P<third>[^;\s]+)")  # fmt: skip
_NAME = re.compile(r"(?:`[^`]+`|\w+)(?:\.(?:`[^`]+`|\w+))*")
_UNNAMED = re.compile(r"f\d+_")


class NotDescribedError(Exception):
    """A job's description is wrong: there is nothing to analyze."""


class NotKnownError(Exception):
    """What a job needs is not known: there is nothing to analyze."""


class CheckedJob:
    """One job while it is checked.

    Args:
        job: What to check.
        world: The tables that there are when it begins.
        analyzer: Analyzes single statements.

    Attributes:
        job: As given.
        world: As given.
        report: What is found.
    """

    def __init__(self, job: JobToCheck, world: World, analyzer: Analyzer) -> None:
        self.job = job
        self.world = world
        kind = "transfer" if isinstance(job.job, TransferJob) else "check"
        kind = "datamart" if isinstance(job.job, Datamart) else kind
        self.report: JobReport = JobReport(
            job.name, kind, None if job.file is None else str(job.file)
        )
        self._analyzer = analyzer
        self._reads: dict[str, None] = {}
        self._writes: dict[str, None] = {}
        for name in (*job.tables.reads, *job.tables.writes) if world.asks else ():
            world.allow(name)

    def origin(self, what: str, file: Path | None = None) -> Origin:
        """Where a text of the job comes from."""
        return Origin(file or self.job.file, what)

    def find(self, message: str, place: Place | None = None, hint: str = "") -> None:
        """Note that something is wrong; without a place it is the whole job."""
        place = place or Place(self.report.file)
        finding = Finding(message, place, hint)
        if finding not in self.report.findings:
            self.report.findings.append(finding)

    def note(self, reason: str) -> None:
        """Note that something could not be checked."""
        if reason not in self.report.notes:
            self.report.notes.append(reason)

    @contextmanager
    def refusals(self, place: Place | None = None) -> Iterator[None]:
        """Note what etlkit itself would refuse."""
        try:
            yield
        except EtlkitError as error:
            self.find(getattr(error, "message", None) or str(error), place)

    def reads(self, *names: str) -> None:
        """Note what the job reads."""
        self._reads |= dict.fromkeys(map(self.world.shown, names))

    def writes(self, *names: str) -> None:
        """Note what the job writes."""
        self._writes |= dict.fromkeys(map(self.world.shown, names))

    def types_of(self, parameters: Mapping[str, Any]) -> dict[str, str]:
        """The types of query parameters; a value that no type holds is a mistake of the job."""
        try:
            return parameter_types(parameters)
        except EtlkitError as error:
            raise NotDescribedError(str(error)) from error

    def analyze(
        self,
        text: SqlText,
        parameters: Mapping[str, str],
        variables: Mapping[str, str] | None = None,
        more: Mapping[str, Known] | None = None,
        used: frozenset[str] = frozenset(),
    ) -> Analysis | None:
        """Analyze one statement, and note what is wrong with it.

        Args:
            text: The statement.
            parameters: Types of query parameters.
            variables: Types of the script's variables.
            more: What further names mean in it.
            used: Bare names of the custom variables in it.

        Returns:
            What is known of it; None = it is refused, or nothing can be said.
        """
        own = more or {}
        unsure: dict[str, None] = {}

        def find(name: str) -> Known | None:
            if name in own:
                return own[name]
            found = self.world.find(name) if self.world.may_find(name) else None
            if isinstance(found, KnownTable) and not found.is_complete:
                unsure.update(dict.fromkeys(found.why))
            return found

        self.report.num_statements += 1
        found = self._analyzer.analyze(text.sql, find, parameters, variables or {})
        while (name := self._not_looked_up(found)) is not None:
            self.world.allow(name)
            found = self._analyzer.analyze(text.sql, find, parameters, variables or {})
        self.reads(*(name for name in found.reads if name not in own and "." in name))
        self.writes(*(name for name in found.writes if "." in name))
        if found.unclear:
            self.note(found.unclear)
            return None
        if found.refusal is None:
            return found
        stand_ins = sorted(used & self.job.stand_ins)
        if stand_ins:
            shown = ", ".join(f"${name}$" for name in stand_ins)
            self.note(f"the value of {shown} is known when the workflow runs")
            return None
        self._refused(text, found, find, variables or {}, unsure)
        return None

    def _not_looked_up(self, found: Analysis) -> str | None:
        """A name that is not there because nobody has looked for it yet; None = there is none."""
        name = None if found.refusal is None else _missing_name(found.refusal.message)
        return None if name is None or self.world.may_find(name) else name

    def _refused(
        self,
        text: SqlText,
        found: Analysis,
        find: Any,
        variables: Mapping[str, str],
        unsure: Iterable[str],
    ) -> None:
        """Note the error, and further ones that can be seen behind an unknown name."""
        is_first = True
        for _ in range(_MAX_FINDINGS):
            refusal = found.refusal
            if refusal is None:
                return
            unknown = _unknown_name(refusal.message)
            missing = _missing_name(refusal.message)
            if not is_first and unknown is None and missing is None:
                return  # it may be about what stands there instead of a name
            if unknown is not None and unsure:
                for reason in unsure:
                    self.note(reason)
            else:
                hint = "" if missing is None else self.world.missing(self.world.shown(missing))
                self.find(refusal.message, text.place(refusal.line, refusal.column), hint)
            if unknown is None or refusal.line is None or refusal.column is None:
                return
            start, end = _name_around(text, text.written_offset(refusal.line, refusal.column))
            if end <= start:
                return
            text, is_first = text.edited([(start, end, _ANY_VALUE)]), False
            found = self._analyzer.analyze(text.sql, find, None, variables)

    def result_columns(self, text: SqlText, found: Analysis) -> Columns | None:
        """The columns of a query whose rows go into a table: all need names.

        Returns:
            The columns; None = some have no name, which is noted.
        """
        columns = found.columns or ()
        numbers = [
            str(number)
            for number, column in enumerate(columns, 1)
            if not column.name or _UNNAMED.fullmatch(column.name)
        ]
        if numbers:
            self.find(
                f"column {', '.join(numbers)} of the query has no name: name your columns, e.g. "
                "COUNT(*) AS num_rows",
                text.place(None, None),
            )
            return None
        return columns

    def refuse_unreadable(self, text: SqlText) -> bool:
        """Note a quote or comment without an end, at its place; whether there is one."""
        try:
            tokenize(text.written)
        except ConfigError as error:
            self._find_open_end(text, str(error))
            return True
        return False

    def _find_open_end(self, text: SqlText, problem: str) -> None:
        """Note what the parser says, statement by statement: it stops at the end of each."""
        start, end = 0, len(text.written)
        while True:
            found = self._analyzer.analyze(text.sql, lambda _: None, None, {})
            refusal = found.refusal
            if refusal is None or refusal.line is None or refusal.column is None:
                self.find(problem, text.place(None, None))
                return
            at = text.written_offset(refusal.line, refusal.column)
            if not refusal.message.startswith(_NEXT_STATEMENT) or at <= start:
                self.find(refusal.message, text.place(refusal.line, refusal.column))
                return
            start, text = at, text.part(at, end)

    def is_open(self, text: SqlText, found: Analysis) -> bool:
        """Whether the query may give more columns than are known: `*` of a table with unknown ones."""
        return (
            bool(self.why_open(found))
            and re.search(r"(?:SELECT|DISTINCT|ALL|\.|,)\s*\*", text.sql, re.IGNORECASE) is not None
        )

    def why_open(self, found: Analysis) -> tuple[str, ...]:
        """Why not all columns are known of the tables that a statement reads, a sentence each."""
        tables = [self.world.find(name) for name in sorted(found.reads)]
        unsure = (each for each in tables if isinstance(each, KnownTable) and not each.is_complete)
        return tuple(dict.fromkeys(reason for each in unsure for reason in each.why))

    def finish(self) -> None:
        """Complete the report; tables that the job cannot be trusted to make are noted."""
        report = self.report
        if report.findings or report.notes:  # what is refused says nothing of its tables
            self.reads(*self.job.tables.reads)
            self.writes(*self.job.tables.writes)
        report.writes = sorted(self._writes)
        report.reads = sorted(self._reads)
        report.findings.sort(key=_position)
        why = [f"{report.name} has errors"] if report.findings else report.notes
        for name in report.writes if why else ():
            if self.world.find(name) is None:
                self.world.make(
                    {name: KnownTable((), is_complete=False, maker=report.name, why=tuple(why))}
                )


def _position(finding: Finding) -> tuple[str, int, int]:
    place = finding.place
    return place.file or "", place.line or 0, place.column or 0


def _unknown_name(message: str) -> str | None:
    matches = (pattern.match(message) for pattern in _UNKNOWN_NAMES)
    return next((match["name"] for match in matches if match), None)


def _missing_name(message: str) -> str | None:
    match = _MISSING_TABLE.match(message)
    return None if match is None else next(filter(None, match.groups()), "").strip("`")


def _name_around(text: SqlText, offset: int) -> tuple[int, int]:
    """The whole path that a position is in, in the user's text."""
    line_start = text.written.rfind("\n", 0, offset) + 1
    for match in _NAME.finditer(text.written, line_start):
        if match.start() <= offset < match.end():
            return match.start(), match.end()
        if match.start() > offset:
            break
    return offset, offset
