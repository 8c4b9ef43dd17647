"""`etlkit runs --follow`: runs at work, as a table that stays on a terminal, else a line a change."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from etlkit.api.quantities import number_of
from etlkit.cli.tables import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from etlkit.bigquery.runs.follow import Follower, LiveRun

LOOK_EVERY_S = 5.0
"""Metadata costs nothing, but a look is a request for each run, and runs tell less often."""

_REFRESH_PER_S = 2.0


def follow(
    follower: Follower,
    run_id: str | None,
    *,
    as_json: bool,
    pause: Callable[[float], None] = time.sleep,
) -> int:
    """Show runs until Ctrl-C, or until one run has ended.

    Args:
        follower: Looks at them.
        run_id: The run; None = all.
        as_json: A JSON object for each change.
        pause: Waits for some seconds.

    Returns:
        Exit status: 0, or 1 if the run has not published.

    Raises:
        RunStateError: There is no such run.
    """
    seen: dict[str, LiveRun] = {}
    is_live = sys.stdout.isatty() and not as_json
    with _view(seen) if is_live else _no_view():
        try:
            while True:
                done = _look(follower, run_id, seen, as_json=as_json, is_live=is_live)
                if run_id is not None and done is not None:
                    return 0 if done.state == "published" else 1
                pause(LOOK_EVERY_S)
        except KeyboardInterrupt:  # the way to end it
            return 0


def _look(
    follower: Follower,
    run_id: str | None,
    seen: dict[str, LiveRun],
    *,
    as_json: bool,
    is_live: bool,
) -> LiveRun | None:
    """Look once and print what has changed; gives the run that was asked for, if it has ended."""
    found = follower.look()
    if run_id is not None:
        found = {key: each for key, each in found.items() if key == run_id}
    over = [each for key, each in seen.items() if key not in found and each.state == "running"]
    over += [each for each in found.values() if _has_ended(each, seen.get(each.run_id))]
    if run_id is not None and run_id not in found and run_id not in seen:
        over.append(_unknown(run_id))
    ended = {each.run_id: each for each in follower.ended(over)} if over else {}
    if run_id is not None and over and not ended:
        raise follower.no_run(run_id)
    for key, each in found.items():
        if key not in ended and each != seen.get(key) and each.state == "running" and not is_live:
            _print(each, as_json=as_json)
    for each in ended.values():
        _print(each, as_json=as_json)
    seen.clear()
    seen.update({key: ended.get(key, each) for key, each in found.items()})
    return None if run_id is None else ended.get(run_id)


def _has_ended(now: LiveRun, before: LiveRun | None) -> bool:
    """Whether a run with a guard has ended since the last look; one that ended before is no news."""
    return now.state != "running" and before is not None and before.state == "running"


def _unknown(run_id: str) -> LiveRun:
    from etlkit.bigquery.runs.follow import LiveRun

    return LiveRun(run_id, "", "running", 0)


def _print(run: LiveRun, *, as_json: bool) -> None:
    now = datetime.now(UTC)
    if as_json:
        line = {"time": now.isoformat(timespec="seconds"), **asdict(run)}
        click.echo(json.dumps(line, ensure_ascii=False))
    else:
        error = f": {run.error.splitlines()[0]}" if run.error else ""
        click.echo(printable(f"{now:%H:%M:%S} {run.run_id} {run.job} {_text(run)}{error}"))
    sys.stdout.flush()


def _text(run: LiveRun) -> str:
    parts = [run.state if run.state != "running" else run.stage or run.state]
    if run.attempt > 1:
        parts[0] += f" (attempt {run.attempt})"
    if run.read is not None:
        rows = number_of(run.read if run.expected is None else run.expected, "row")
        parts.append(rows if run.expected is None else f"{run.read:,} of {rows}")
    if run.workers and run.state == "running":
        parts.append(number_of(run.workers, "worker"))
    counts = {name: getattr(run, name) for name in ("written", "skipped", "rejected")}
    parts += [f"{count:,} {name}" for name, count in counts.items() if count]
    return ", ".join(parts)


@contextmanager
def _no_view() -> Iterator[None]:
    yield


@contextmanager
def _view(seen: Mapping[str, LiveRun]) -> Iterator[None]:
    """A table of the runs at work, below what is printed."""
    from rich.console import Console

    from etlkit.cli.progress import live_lines

    with live_lines(Console(highlight=False), lambda: _table(seen), _REFRESH_PER_S):
        yield


def _table(seen: Mapping[str, LiveRun]) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    at_work = [each for each in list(seen.values()) if each.state == "running"]
    if not at_work:
        return Text("no run is at work; Ctrl-C ends this", "dim")
    grid = Table.grid(padding=(0, 2, 0, 0))
    for each in at_work:
        texts = each.run_id, printable(each.job), _text(replace(each, attempt=1)), each.where
        grid.add_row(*(Text(text, no_wrap=True, overflow="ellipsis") for text in texts))
    return grid
