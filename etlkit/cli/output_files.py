"""Files that a command writes at its end: looked at before anything runs or is paid for."""

from __future__ import annotations

import logging
import os
import secrets
from pathlib import Path
from typing import Final

from etlkit.errors import ConfigError

STDOUT: Final = Path("-")
"""What `--report` takes for stdout."""


def check_output(path: Path, what: str, *, replaces: bool = False) -> None:
    """Check that a file can be written.

    Args:
        path: The file.
        what: What it is to hold, for the message.
        replaces: Whether it is made beside an earlier one and then takes its place.

    Raises:
        ConfigError: It cannot be written; says why.
    """
    if path.is_dir():
        raise ConfigError(f"{path} is a folder; name a file for {what}")
    if not path.parent.is_dir():
        raise ConfigError(f"there is no folder {path.parent} for {what} {path.name}; make it first")
    try:
        if path.exists() and not replaces:  # it may be a pipe, or a device
            if not os.access(path, os.W_OK):
                raise PermissionError(None, "Permission denied")
        else:
            # Not by `tempfile`: a folder above may be closed to us, and it takes the absolute path.
            probe = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}")
            os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            probe.unlink()
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written for {what} ({error.strerror or error}): name another file"
        ) from error


def write_report(path: Path, text: str) -> None:
    """Write a report. It cannot change how the run ended: a failure is only told.

    Args:
        path: The file.
        text: JSON.
    """
    from etlkit.cli.console import show_error

    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        logging.getLogger("etlkit").debug("traceback:", exc_info=True)
        reason = error.strerror or error
        show_error(f"the run is over, but its report {path} could not be written: {reason}")
