"""`python -m etlkit.run` as a process that tests kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from tests.warm_python import ROOT, WARM_WORKERS, WarmPython

TIMEOUT_S = float(os.environ.get("ETLKIT_TEST_TIMEOUT_S", "90"))
"""Long forms of tests need more, above all on a machine that has other work."""


class RunProcess:
    """A run in a process of its own.

    Args:
        job: The job's file, beside this one.
        arguments: Of the command line.
        environ: Beside the environment of the tests.
        log: Where stderr goes.
    """

    def __init__(
        self, job: str, arguments: Sequence[str], environ: Mapping[str, str], log: Path
    ) -> None:
        self.log = log
        own = {"ETLKIT_JOURNAL": str(log.parent / "journal"), WARM_WORKERS: "1"}
        # A file: who waits for something else does not read a pipe, and a report may not fit into it.
        self._out = log.with_suffix(".out")
        with log.open("w") as stderr, self._out.open("w") as stdout:
            self.process = WarmPython(
                ["-m", "etlkit.run", f"tests/faults/{job}", *arguments],
                cwd=ROOT,
                env={**os.environ, **own, **environ},
                stdout=stdout,
                stderr=stderr,
            )

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def all_processes(self) -> list[psutil.Process]:
        """The run's process and its descendants, also workers that have made no call yet."""
        process = psutil.Process(self.process.pid)
        return [process, *process.children(recursive=True)]

    def live_for(self, seconds: float) -> None:
        """Return when it has ended, at the latest after so long."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return

    def kill(self) -> float | None:
        """Kill it and give the moment; None = it had ended by itself."""
        if self.is_alive:
            self.process.kill()
        killed_at = time.monotonic()
        self.process.wait(TIMEOUT_S)
        return killed_at if self.process.returncode < 0 else None

    def kill_after(self, seconds: float) -> float | None:
        """As `kill`, after so long."""
        self.live_for(seconds)
        return self.kill()

    def stop(self) -> None:
        """SIGSTOP; returns when it stands still."""
        self.process.send_signal(signal.SIGSTOP)
        process = psutil.Process(self.process.pid)
        while process.status() != psutil.STATUS_STOPPED:
            time.sleep(0.001)

    def end(self) -> tuple[int, dict | None, str]:
        """Let it end; gives exit status, report and complaints."""
        self.process.wait(TIMEOUT_S)
        lines = self._out.read_text(encoding="utf-8").strip().splitlines()
        report = json.loads(lines[-1]) if lines else None
        return self.process.returncode, report, self.log.read_text()

    def close(self) -> None:
        """End it, whatever it does."""
        self.kill()
        self.process.close()
