"""Run a job from Python, on Google Cloud or in the embedded world. The command line is made of this."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from etlkit.context import Run, Settings
    from etlkit.job import TransferJob
    from etlkit.report import Progress, RunReport


def run_job(
    job: TransferJob,
    *,
    name: str | None = None,
    settings: Settings | None = None,
    limit: int | None = None,
    resume: str | None = None,
    allow_code_change: bool = False,
    retry_rejects: str | None = None,
    only: str | None = None,
    variables: Mapping[str, Any] | None = None,
    loop: Mapping[str, Any] | None = None,
    queued_at: datetime | None = None,
    on_progress: Progress | None = None,
    on_start: Callable[[Run], None] | None = None,
) -> RunReport:
    """Run a job from a script or a notebook.

    Args:
        job: What to run.
        name: The job's name where it has none of its own; None = `job`.
        settings: Project, location and environment; None = what `environment()` gives.
        limit: Source rows to read at most; None = all.
        resume: Id of an unpublished run to go on with, or `"last"`; None = a new run.
        allow_code_change: Resume although code or query changed.
        retry_rejects: Id of a run whose rejected rows to run again, and no others.
        only: Of those, the rows with this class of error; None = all.
        variables: Values of custom variables, given for this run.
        loop: Values of this turn of a loop; they win over the ones given.
        queued_at: Base of `Timestamp` variables, an aware time; None = now.
        on_progress: Called often with stage and counts; None = nobody watches.
        on_start: Given the run before it begins, e.g. to call its `request_stop` later.

    Returns:
        The report of a published run.

    Raises:
        EtlkitError: The run failed; its attribute `report` is a `RunReport`.
        Interrupted: The run was asked to stop; likewise. It can be resumed.
    """
    from etlkit.context import Run
    from etlkit.engine import run_transfer
    from etlkit.plan import expand_transfer

    now = datetime.now(UTC)
    job, worth = expand_transfer(
        job, given=variables, loop=loop, queued_at=queued_at or now, started_at=now
    )
    if retry_rejects is not None:
        from etlkit.bigquery.rejects import rejects_of

        job = replace(job, source=rejects_of(job.source, job.sink, retry_rejects, only))
    with Run(
        job.name or name or "job",
        settings or environment(),
        limit=limit,
        labels=job.labels,
        resume=resume,
        allow_code_change=allow_code_change,
        retry_of=retry_rejects,
    ) as run:
        run.variables = worth
        if on_start is not None:
            on_start(run)
        return run_transfer(job, run, on_progress)


def environment(*, project: str | None = None, location: str | None = None) -> Settings:
    """Settings from this process's environment variables."""
    from etlkit.context import Settings

    return Settings(project=project, location=location, environ=dict(os.environ))


@contextmanager
def local_world(local_dir: Path) -> Iterator[None]:
    """Point this process at the embedded BigQuery and Vision of `local_dir` while inside.

    Raises:
        ConfigError: The `local` extra is not installed.
        JobError: The server does not start.
    """
    from etlkit.local import join_or_start
    from etlkit.local.detours import detours

    with join_or_start(local_dir) as server:
        before = dict(os.environ)
        mine = server.endpoints.environ()
        mine["ETLKIT_BUCKETS"] = str(server.local_dir / "buckets")
        for variable in ("ETLKIT_VISION_ENDPOINT", "ETLKIT_VISION_GRPC_ENDPOINT"):
            if os.environ.get(variable):
                mine.pop(variable)  # somebody chose another one on purpose
        os.environ.update(mine)
        try:
            with detours():
                yield
        finally:
            for variable in mine:
                if variable in before:
                    os.environ[variable] = before[variable]
                else:
                    os.environ.pop(variable, None)
