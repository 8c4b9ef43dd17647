"""etlkit's log on stderr: as text or as one JSON object a line, without keys."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from etlkit.cli.tables import printable
from etlkit.errors import without_keys


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
        return printable(without_keys(super().format(record)))


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to the current `sys.stderr`: a progress bar replaces it to print lines above itself."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def configure_logging(level: int, *, as_json: bool = False) -> None:
    """Send the logger `etlkit` to stderr, and nowhere else.

    Args:
        level: The lowest level to show, as in `logging`.
        as_json: One JSON object a line instead of text.
    """
    handler = _StderrHandler()
    handler.setFormatter(JsonFormatter() if as_json else RedactingFormatter("%(message)s"))
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
