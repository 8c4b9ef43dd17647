"""The process of dbt as its parent sees it: its answers, its log, and how it is stopped."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

from etlkit.errors import ConfigError, JobError, missing_packages, without_keys

log: logging.Logger = logging.getLogger("etlkit.workflow")

STOP_S: Final = 15.0
"""How long dbt may take to cancel its queries after a request to stop, before it is killed."""

_CHILD = Path(__file__).with_name("child.py")
_SHOWN_LINES = 15


class DbtProcess:
    """A running dbt. Use it with `with`: it has ended when the block ends.

    Args:
        python: The interpreter that has dbt.
        arguments: dbt's arguments, without its name. They are not on the command line, which every
            user of a machine can read.
        environ: Environment variables.
    """

    def __init__(self, python: str, arguments: Sequence[str], environ: Mapping[str, str]) -> None:
        self._python = python
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own file in a chosen interpreter  # nosec B603
                [python, str(_CHILD)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(environ),
                text=True,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,  # Ctrl-C in the terminal reaches only the parent
            )
        except OSError as error:
            raise ConfigError(f"cannot start {python} for dbt: {error.strerror}") from error
        self._last_lines: deque[str] = deque(maxlen=_SHOWN_LINES)
        self._logger = threading.Thread(target=self._read_log, name="etlkit-dbt-log", daemon=True)
        self._logger.start()
        self._killer: threading.Timer | None = None
        with suppress(BrokenPipeError):
            request = {"arguments": list(arguments), "stop_s": STOP_S}
            self._input.write(json.dumps(request) + "\n")
            self._input.flush()

    @property
    def _input(self) -> Any:
        return self._process.stdin

    def answers(self) -> Iterator[dict[str, Any]]:
        """Yield what dbt tells, until it ends.

        Raises:
            ConfigError: The interpreter has no dbt.
            JobError: It ended without saying how it went.
        """
        is_done = False
        for line in self._process.stdout or ():
            answer = json.loads(line)
            if answer["event"] == "missing":
                raise missing_packages(
                    f"{self._python} has no dbt for BigQuery ({answer['error']}); another Python can "
                    "have it: DbtBuild(python='path/to/a/venv/bin/python')",
                    "dbt",
                )
            is_done = is_done or answer["event"] == "done"
            yield answer
        status = self._process.wait()
        if not is_done:
            self._logger.join(STOP_S)
            last = "\n".join(f"  {line}" for line in self._last_lines) or "  (it wrote nothing)"
            raise JobError(
                f"dbt ended with exit status {status}. The end of what it wrote:\n{last}"
            )

    def stop(self) -> None:
        """Ask dbt to cancel its queries and to end; kill it if it does not. Returns at once."""
        with suppress(OSError, ValueError):
            self._input.close()
        if self._killer is None:
            self._killer = threading.Timer(STOP_S, self._kill)
            self._killer.daemon = True
            self._killer.start()

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._process.wait()
        if self._killer is not None:
            self._killer.cancel()
        self._logger.join(STOP_S)
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def _read_log(self) -> None:
        for line in self._process.stderr or ():
            text = without_keys(line.rstrip())
            if text:
                self._last_lines.append(text)
                log.debug("dbt: %s", text)
