"""The process that runs dbt. It is asked on stdin and answers on stdout, a JSON object a line.

It runs in any interpreter that has dbt-bigquery, so it imports nothing of etlkit. dbt keeps settings,
logging and a manifest in global variables and cannot run twice at once in a process.
"""

from __future__ import annotations

import _thread
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, TextIO

_STARTED = "NodeStart"
_FINISHED = "NodeFinished"
"""Events of dbt: https://docs.getdbt.com/reference/events-logging"""


def main() -> int:
    """Run dbt once; the exit status is 0 if it said how it went, whatever it said."""
    # The folder of this file would hide modules of other packages.
    sys.path[:] = [path for path in sys.path if Path(path).resolve() != Path(__file__).parent]
    request = json.loads(sys.stdin.readline())
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)  # what dbt prints is for people
        stop_s = float(request["stop_s"])
        threading.Thread(target=_stop_with_parent, args=(stop_s,), daemon=True).start()
        _Dbt(answers).run(request["arguments"])
    return 0


def _stop_with_parent(stop_s: float) -> None:
    """Interrupt dbt when stdin is closed: it cancels its queries. End it if it does not end."""
    sys.stdin.read()
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        _thread.interrupt_main()
    time.sleep(stop_s)
    os._exit(1)


class _Dbt:
    """One run of dbt, told as it goes on."""

    def __init__(self, answers: TextIO) -> None:
        self._answers = answers
        self._lock = threading.Lock()

    def run(self, arguments: list[str]) -> None:
        """Call dbt's own entry point."""
        try:
            import dbt.adapters.bigquery  # noqa: F401 - dbt itself would only say that it has no profile
            from dbt.cli.main import dbtRunner
        except ImportError as error:
            self._tell({"event": "missing", "error": str(error)})
            return
        outcome = dbtRunner(callbacks=[self._on_event]).invoke(arguments)
        for result in getattr(outcome.result, "results", None) or ():
            self._tell({"event": "result", **_result(result)})
        raised = outcome.exception
        text = None if raised is None else str(raised) or type(raised).__name__
        self._tell({"event": "done", "success": bool(outcome.success), "error": text})

    def _on_event(self, event: Any) -> None:
        """Called by dbt from its threads."""
        name = event.info.name
        if name in {_STARTED, _FINISHED}:
            node = event.data.node_info
            kind = "started" if name == _STARTED else "finished"
            if node.materialized != "ephemeral":  # no statement of its own, and no result
                self._tell({"event": kind, "id": node.unique_id, "name": node.node_name})

    def _tell(self, answer: dict[str, Any]) -> None:
        with self._lock:
            self._answers.write(json.dumps(answer, default=str) + "\n")
            self._answers.flush()


def _result(result: Any) -> dict[str, Any]:
    """How a model, test, seed or snapshot ended."""
    node, said = result.node, result.adapter_response or {}
    timing = {each.name: each for each in result.timing or ()}.get("execute")
    return {
        "id": node.unique_id,
        "name": node.name,
        "type": str(node.resource_type),
        "file": node.original_file_path,
        "materialized": getattr(node.config, "materialized", None),
        "relation": getattr(node, "relation_name", None),
        "depends_on": list(getattr(node, "depends_on_nodes", ())),
        "status": str(result.status),
        "message": result.message,
        "failures": result.failures,
        "seconds": result.execution_time,
        "started_at": _iso(getattr(timing, "started_at", None)),
        "finished_at": _iso(getattr(timing, "completed_at", None)),
        "rows": said.get("rows_affected"),
        "bytes_billed": said.get("bytes_billed"),
        "job_id": said.get("job_id"),
    }


def _iso(moment: Any) -> str | None:
    """A time of dbt, which is in UTC and may not say so."""
    if moment is None:
        return None
    text = moment.isoformat()
    return str(text) if moment.tzinfo is not None else f"{text}+00:00"


if __name__ == "__main__":
    sys.exit(main())
