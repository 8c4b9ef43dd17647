"""What a person sees: progress and errors on stderr, a preview on stdout."""

from __future__ import annotations

import json
import logging
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from etlkit.errors import without_keys

if TYPE_CHECKING:
    from rich.progress import TaskID

    from etlkit.api.outcomes import Counts
    from etlkit.api.report import RunReport
    from etlkit.engine.preview import Preview

_LINE_EVERY_S = 10.0
_MAX_CELL = 200


class ProgressView(Protocol):
    """Shows a run's progress; a context manager."""

    def __call__(self, stage: str, counts: Counts, expected: int | None, /) -> None:
        """Take note; called very often."""

    def __enter__(self) -> Self:
        """Start showing."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop showing."""


def progress_view(*, quiet: bool, plain: bool) -> ProgressView:
    """A bar on a terminal, else plain lines; nothing when `quiet`."""
    if quiet:
        return _Silent()
    if plain or not sys.stderr.isatty():
        return _Lines()
    return _Bar()


class _Silent:
    def __call__(self, _stage: str, _counts: Counts, _expected: int | None, /) -> None:
        return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return


class _Lines(_Silent):
    """A log line per stage and one every `_LINE_EVERY_S`."""

    def __init__(self) -> None:
        self._log = logging.getLogger("etlkit.progress")
        self._stage = ""
        self._next = 0.0
        self._started = time.monotonic()

    def __call__(self, stage: str, counts: Counts, expected: int | None, /) -> None:
        now = time.monotonic()
        if stage == self._stage and now < self._next:
            return
        if stage != self._stage:
            self._stage = stage
        self._next = now + _LINE_EVERY_S
        self._log.info("%s: %s", stage, progress_text(counts, expected, now - self._started))


class _Bar(_Silent):
    """A rich progress bar with rate and counts."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<10}"),
            BarColumn(),
            TextColumn("{task.fields[text]}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task: TaskID | None = None
        self._next = 0.0
        self._started = time.monotonic()

    def __call__(self, stage: str, counts: Counts, expected: int | None, /) -> None:
        now = time.monotonic()
        if now < self._next and counts.read != expected:
            return
        self._next = now + 0.1
        text = progress_text(counts, expected, now - self._started)
        if self._task is None:
            self._task = self._progress.add_task(stage, total=expected, text=text)
        self._progress.update(
            self._task, description=stage, total=expected, completed=counts.read, text=text
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()


def progress_text(counts: Counts, expected: int | None, elapsed_s: float) -> str:
    """`1,200 of 5,000 rows, 340/s, 1,190 written, 10 skipped`."""
    total = f" of {expected:,}" if expected is not None else ""
    rate = counts.read / elapsed_s if elapsed_s > 0 else 0.0
    parts = [f"{counts.read:,}{total} rows", f"{rate:,.0f}/s", f"{counts.written:,} written"]
    parts += [f"{counts.skipped:,} skipped"] if counts.skipped else []
    parts += [f"{counts.rejected:,} rejected"] if counts.rejected else []
    parts += [f"{counts.row_errors:,} row errors"] if counts.row_errors else []
    return ", ".join(parts)


def show_report(report: RunReport) -> None:
    """Tell a person how the run ended; the machine's line goes to stdout."""
    for text in report.first_errors:
        _say("yellow", "left out", text)
    if report.row_errors > len(report.first_errors):
        _say("yellow", "left out", f"… and {report.row_errors - len(report.first_errors):,} more")
    if report.state != "published":
        return
    counts = [f"{report.read:,} read", f"{report.written:,} written", f"{report.skipped:,} skipped"]
    counts += [f"{report.rejected:,} rejected"] if report.rejected else []
    counts += [f"{report.resumed:,} from earlier attempts"] if report.resumed else []
    counts += [f"{report.retries:,} of {report.calls:,} calls repeats"] if report.retries else []
    _say(
        "green",
        "published",
        f"{report.rows_published:,} rows to {report.target} ({', '.join(counts)}) "
        f"in {sum(report.seconds.values()):.1f} s",
    )


def show_error(message: str) -> None:
    """Say what went wrong and what to do next."""
    _say("bold red", "error", message)


def _say(style: str, word: str, text: str) -> None:
    """One line on stderr, as a JSON object where the log is made of such."""
    log = logging.getLogger("etlkit")
    if any(isinstance(handler.formatter, JsonFormatter) for handler in log.handlers):
        log.log(logging.ERROR if word == "error" else logging.INFO, "%s %s", word, text)
        return
    from rich.console import Console

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"[{style}]{word}[/] {_plain(text)}")


def show_preview(preview: Preview) -> None:
    """Print rows before and after, and the columns the target would get."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    for number, row in enumerate(preview.rows, 1):
        table = Table(title=f"row {number}", title_justify="left", show_lines=False, expand=False)
        table.add_column("column")
        table.add_column("before", overflow="fold")
        afters: list[dict[str, Any]] = list(row.after)
        for part in range(len(afters)):
            table.add_column("after" if len(afters) == 1 else f"after {part + 1}", overflow="fold")
        if not afters:
            table.add_column("after")
        names = list(dict.fromkeys([*row.before, *(name for each in afters for name in each)]))
        for name in names:
            cells = [_cell(row.before, name), *(_cell(each, name) for each in afters)]
            table.add_row(_plain(name), *cells, *([] if afters else ["(no row)"]))
        console.print(table)
    columns = ", ".join(f"{column.name} {column.ddl}" for column in preview.columns)
    console.print(f"columns: {_plain(columns)}", soft_wrap=True)
    for text in preview.errors:
        console.print(f"[red]fails[/] {_plain(text)}", soft_wrap=True)
    if preview.num_errors > len(preview.errors):
        console.print(f"[red]fails[/] … and {preview.num_errors - len(preview.errors)} more")
    console.print("nothing was written")


def _cell(row: dict[str, Any], name: str) -> str:
    if name not in row:
        return ""
    value = row[name]
    if value is None:
        return "NULL"
    if isinstance(value, (dict, list)):
        text = json.dumps(value, ensure_ascii=False, default=str)
    else:
        text = str(value)
    return _plain(text if len(text) <= _MAX_CELL else f"{text[:_MAX_CELL]}… ({len(text):,} chars)")


def _plain(text: str) -> str:
    """Keep brackets in data from being taken for markup, and control characters from the terminal."""
    from rich.markup import escape

    return escape("".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text))


class JsonFormatter(logging.Formatter):
    """One JSON object a line, without keys: time, level, logger, message, and a traceback if any."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": without_keys(record.getMessage()),
        }
        if record.exc_info:
            line["traceback"] = without_keys(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)


class RedactingFormatter(logging.Formatter):
    """Formats log records, tracebacks included, without keys."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        return without_keys(super().format(record))
