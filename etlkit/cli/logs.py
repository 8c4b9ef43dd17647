"""etlkit's log on stderr: as text or as one JSON object a line, without keys."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from etlkit.cli.tables import printable
from etlkit.errors import without_keys
from etlkit.telemetry.current_run import current_run
from etlkit.telemetry.spans import trace_ids

_SPECIAL = "logging.googleapis.com/"

_CLOUD_RUN = ("CLOUD_RUN_JOB", "K_SERVICE")
"""One of them is set in a job or a service of Cloud Run:
https://cloud.google.com/run/docs/container-contract#env-vars"""


class JsonFormatter(logging.Formatter):
    """One JSON object a line, without keys, with the fields that Cloud Logging knows.

    Source: https://cloud.google.com/logging/docs/structured-logging#structured_logging_special_fields

    Args:
        project: Where traces are, for their full names; None = not known.
    """

    def __init__(self, project: str | None = None) -> None:
        super().__init__()
        self._project = project

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        at = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "severity": record.levelname,
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": without_keys(record.getMessage()),
            **_labels(),
            **self._trace(),
            _SPECIAL + "sourceLocation": {
                "file": _shown_file(record.pathname),
                "line": str(record.lineno),
                "function": record.funcName,
            },
        }
        if (request := getattr(record, "http_request", None)) is not None:
            line["httpRequest"] = request
        if record.exc_info:
            line["traceback"] = without_keys(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)

    def _trace(self) -> dict[str, Any]:
        """The current span, or that of the scheduler which has started this process."""
        ids = trace_ids() or _given_trace()
        if ids is None:
            return {}
        trace, span, is_sampled = ids
        name = f"projects/{self._project}/traces/{trace}" if self._project else trace
        return {
            _SPECIAL + "trace": name,
            _SPECIAL + "spanId": span,
            _SPECIAL + "trace_sampled": is_sampled,
        }


def _given_trace() -> tuple[str, str, bool] | None:
    found = _TRACEPARENT.fullmatch(os.environ.get("TRACEPARENT", ""))
    if found is None:
        return None
    return found["trace"], found["span"], bool(int(found["flags"], 16) & 1)


_TRACEPARENT = re.compile(
    r"[0-9a-f]{2}-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})"
)
"""https://www.w3.org/TR/trace-context/#traceparent-header-field-values"""


def _labels() -> dict[str, Any]:
    run = current_run()
    if run is None:
        return {}
    given = {
        "etlkit_run": run.run_id,
        "etlkit_job": run.job,
        "etlkit_task": run.task,
        "etlkit_parent": run.parent,
    }
    return {_SPECIAL + "labels": {name: value for name, value in given.items() if value}}


def _shown_file(path: str) -> str:
    """A file without the folders of this machine: within its package, or its name."""
    parts = Path(path).parts
    for marker in ("site-packages", "dist-packages"):
        if marker in parts:
            return "/".join(parts[parts.index(marker) + 1 :])
    root = Path(__file__).parents[2]
    return Path(path).relative_to(root).as_posix() if Path(path).is_relative_to(root) else parts[-1]


def wants_json(log_format: str | None) -> bool:
    """Whether stderr is written as JSON objects.

    Args:
        log_format: What the user has said; None = JSON in Cloud Run, where Cloud Logging reads it.
    """
    if log_format is not None:
        return log_format == "json"
    return any(os.environ.get(name) for name in _CLOUD_RUN) and not sys.stderr.isatty()


class RedactingFormatter(logging.Formatter):
    """Formats log records, tracebacks included, without keys."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        return printable(without_keys(super().format(record)))


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to the current `sys.stderr`: a progress bar replaces it to print lines above itself."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def configure_logging(level: int, *, as_json: bool = False, project: str | None = None) -> None:
    """Send the logger `etlkit` to stderr, and nowhere else.

    Args:
        level: The lowest level to show, as in `logging`.
        as_json: One JSON object a line instead of text.
        project: Where traces are; None = that of the environment.
    """
    handler = _StderrHandler()
    project = project or os.environ.get("GOOGLE_CLOUD_PROJECT")
    handler.setFormatter(JsonFormatter(project) if as_json else RedactingFormatter("%(message)s"))
    logger = logging.getLogger("etlkit")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(level)


@contextmanager
def logged_warnings() -> Iterator[None]:
    """Log etlkit's own warnings about the user's code, with file and line; others stay as they are."""
    from etlkit.api.misspellings import MisspelledWarning

    with warnings.catch_warnings():
        show = warnings.showwarning

        def log(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if issubclass(category, MisspelledWarning):
                logging.getLogger("etlkit").warning("%s (%s:%d)", message, filename, lineno)
            else:
                show(message, category, filename, lineno, file, line)

        warnings.showwarning = log
        yield


def say_starting(name: object) -> None:
    """Say on a terminal that the command works: importing a job and Google's clients takes seconds."""
    if sys.stderr.isatty() and not logs_json():
        logging.getLogger("etlkit").info("starting %s …", name)


def logs_json() -> bool:
    """Whether stderr is written as JSON objects."""
    handlers = logging.getLogger("etlkit").handlers
    return any(isinstance(handler.formatter, JsonFormatter) for handler in handlers)
