"""`LineageWatcher`: sends the events of runs in the background, one after the other."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from etlkit.api.run_watch import RunWatcher, WatchedRun, is_watched, watched_by
from etlkit.errors import without_keys

if TYPE_CHECKING:
    from etlkit.api.report import Report
    from etlkit.open_lineage.facts import SourcesOf

log: logging.Logger = logging.getLogger("etlkit")

_VARIABLE = "OPENLINEAGE"
_OFF = "OPENLINEAGE_DISABLED"
_NAMESPACE = "OPENLINEAGE_NAMESPACE"
_FILE = "openlineage.yml"

_WAIT_S = 10.0
"""How long the end of a run waits until its events are sent."""


def is_wanted(environ: Mapping[str, str]) -> bool:
    """Whether somebody has said where events go, as OpenLineage's client reads it.

    https://openlineage.io/docs/client/python/configuration

    Args:
        environ: The environment variables.
    """
    if environ.get(_OFF, "").lower() in {"true", "1"}:
        return False
    if any(name.startswith(_VARIABLE) and name not in {_OFF, _NAMESPACE} for name in environ):
        return True
    return any(path.is_file() for path in (Path(_FILE), Path.home() / ".openlineage" / _FILE))


@contextmanager
def lineage_events(sources_of: Callable[[], SourcesOf | None]) -> Iterator[None]:
    """Send events of the runs that begin inside, where somebody wants them.

    Args:
        sources_of: Gives the analyzer; None = there is none.
    """
    if is_watched() or not is_wanted(os.environ):
        yield
        return
    if find_spec("openlineage") is None:
        log.warning("OpenLineage is configured, but its client is not installed: extra lineage")
        yield
        return
    watcher = LineageWatcher(sources_of)
    try:
        with watched_by(watcher):
            yield
    finally:
        watcher.close()


class LineageWatcher(RunWatcher):
    """See `etlkit.api.run_watch.RunWatcher`.

    Args:
        sources_of: See `lineage_events`.
    """

    def __init__(self, sources_of: Callable[[], SourcesOf | None]) -> None:
        self._sources_of = sources_of
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._client: Any = None
        self._has_warned = False
        self._finders: dict[str, Any] = {}
        # Daemon: a backend that hangs must not keep the process.
        self._thread = threading.Thread(target=self._send_all, name="etlkit-lineage", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Wait, for a bounded time, until everything is sent."""
        self._work.put(None)
        self._thread.join(_WAIT_S)
        if self._thread.is_alive():
            self._warn(f"the backend has not answered for {_WAIT_S:.0f} s; events may be missing")

    def started(self, run: WatchedRun) -> None:
        """See `RunWatcher.started`."""
        self._work.put(lambda: self._emit(self._events(run).start()))

    def opened(self, run: WatchedRun) -> None:
        """See `RunWatcher.opened`."""
        self._work.put(lambda: self._emit(self._events(run).running(self._finder(run).facts())))

    def ended(self, run: WatchedRun, report: Report, error: BaseException | None) -> None:
        """See `RunWatcher.ended`."""

        def send() -> None:
            finder = self._finder(run)
            try:
                for event in self._events(run).end(finder.facts(), report, error):
                    self._emit(event)
            finally:
                finder.close()
                self._finders.pop(run.run_id, None)

        self._work.put(send)

    def _send_all(self) -> None:
        while (work := self._work.get()) is not None:
            try:
                work()
            except Exception as error:
                self._warn(str(error) or type(error).__name__)

    def _warn(self, text: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            line = without_keys(text).splitlines()[0]
            log.warning("lineage events cannot be sent, and the run goes on without: %s", line)

    def _events(self, run: WatchedRun) -> Any:
        from etlkit.open_lineage.events import Events

        return Events(run, os.environ.get(_NAMESPACE) or "etlkit")

    def _finder(self, run: WatchedRun) -> Any:
        from etlkit.open_lineage.facts import Finder

        if run.run_id not in self._finders:
            self._finders[run.run_id] = Finder(run, self._sources_of())
        return self._finders[run.run_id]

    def _emit(self, event: Any) -> None:
        if self._client is None:
            from openlineage.client import OpenLineageClient

            self._client = OpenLineageClient()
        self._client.emit(event)
