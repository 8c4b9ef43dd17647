"""The local world of this process: its clients, buckets and journals are the local ones for a while."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType


class LocalWorld(AbstractContextManager[dict[str, str]]):
    """The local world, which begins when this is entered. Get it from `etlkit.local_world`."""

    def __init__(self, local_dir: Path, location: str | None) -> None:
        self._entered: AbstractContextManager[dict[str, str]] | None = None
        self._local_dir = local_dir
        self._location = location

    def __enter__(self) -> dict[str, str]:
        """Start or join the server; gives environment variables for other programs."""
        self._entered = _entered_world(self._local_dir, self._location)
        return self._entered.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> bool | None:
        """Leave the server to others, and the environment as it was."""
        return None if self._entered is None else self._entered.__exit__(kind, error, trace)

    def __del__(self) -> None:
        """Warn if it was never entered: jobs would run on Google Cloud instead."""
        if self._entered is None:
            warnings.warn(
                "local_world(…) does nothing until it is entered: write with local_world(): and run "
                "the jobs inside",
                RuntimeWarning,
                stacklevel=2,
            )


@contextmanager
def _entered_world(local_dir: Path, location: str | None) -> Iterator[dict[str, str]]:
    from etlkit.calls.local_token import is_loopback
    from etlkit.local import join_or_start
    from etlkit.local.bigquery.redirects import redirect_storage
    from etlkit.local.vision.redirects import redirect_vision

    with join_or_start(local_dir, location=location) as server:
        before = dict(os.environ)
        changes = server.endpoints.environ()
        changes["ETLKIT_BUCKETS"] = str(server.local_dir / "buckets")
        if not os.environ.get("ETLKIT_JOURNAL"):
            changes["ETLKIT_JOURNAL"] = str(server.local_dir / "journal")
        for variable in ("ETLKIT_VISION_ENDPOINT", "ETLKIT_VISION_GRPC_ENDPOINT"):
            if os.environ.get(variable):
                changes.pop(variable)  # the user chose another one on purpose
                if not is_loopback(os.environ[variable]):
                    changes.pop("GOOGLE_APPLICATION_CREDENTIALS", None)
        os.environ.update(changes)
        try:
            with redirect_vision(), redirect_storage():
                yield server.tool_environ()
        finally:
            for variable in changes:
                if variable in before:
                    os.environ[variable] = before[variable]
                else:
                    os.environ.pop(variable, None)
