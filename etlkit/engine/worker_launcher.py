"""How the workers of a shared run are started: what every way to do so gets, and what it gives."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from typing import TYPE_CHECKING, Protocol

from etlkit.api.outcomes import SHOWN_ERRORS, Counts
from etlkit.api.run import ParentRun, Run, RunRequest, Worker
from etlkit.engine.worker_messages import Order, Usage, pickled_job

if TYPE_CHECKING:
    from etlkit.api.job import TransferJob
    from etlkit.api.sink import SharesRun
    from etlkit.rows.columns import Column

log: logging.Logger = logging.getLogger("etlkit")


@dataclass(frozen=True)
class SharedWork:
    """The transform of a shared run, for whoever starts its workers.

    Attributes:
        job: What is run.
        request: What the caller asked for.
        run: The attempt.
        writer: Tells how far the workers are, and tells them to stop.
        check: Called often; raises if the run is lost.
        on_usage: Called often with what all workers have done so far.
        known_columns: See `Worker`.
        num_rows: Rows that wait for workers; None = not known.
    """

    job: TransferJob
    request: RunRequest
    run: Run
    writer: SharesRun
    check: Callable[[], object]
    on_usage: Callable[[Usage], None]
    known_columns: tuple[Column, ...] = ()
    num_rows: int | None = None

    def num_useful(self, num_workers: int) -> int:
        """How many of these workers to start: one for each row at most, others would find none."""
        return num_workers if self.num_rows is None else max(1, min(num_workers, self.num_rows))

    @cached_property
    def _for_workers(self) -> tuple[bytes, RunRequest]:
        parent = self.request.parent
        if parent is not None:  # only who started the run tells the workflow of it
            parent = ParentRun(parent.run_id, parent.task)
        request = replace(self.request, parent=parent, shared=None, resume=None)
        return pickled_job(self.job), request

    def order(self, index: int, num_workers: int) -> Order:
        """What a worker is to do.

        Args:
            index: Its number among those of this process, from 0.
            num_workers: How many this process means to have.

        Raises:
            ConfigError: The job cannot be sent to another process.
        """
        job, request = self._for_workers
        task = self.run.scheduler_task
        if task is not None:  # each of the other tasks has as many, as far as this one knows
            index, num_workers = task.index * num_workers + index, task.count * num_workers
        worker = Worker(secrets.token_hex(4), index, num_workers, known_columns=self.known_columns)
        level = log.getEffectiveLevel()
        return Order(job, request, self.run.run_id, self.run.attempt, worker, level)


class Workers(Protocol):
    """The workers of a shared run, as the process sees them that holds it."""

    @property
    def usage(self) -> Usage:
        """What all workers have done so far, those that are gone included."""

    def run_all(self) -> None:
        """Start the workers, and return when every one has ended: none of them found rows left.

        Raises:
            Interrupted: The run was asked to stop; every finished row is durable.
            EtlkitError: What ended a worker, and with it the run.
        """


class WorkerLauncher(Protocol):
    """A way to start the workers of a shared run."""

    def __call__(self, work: SharedWork, /) -> Workers:
        """Make the workers ready. Nothing is started yet."""


def added(one: Counts, other: Counts) -> Counts:
    """Both counts together."""
    return Counts(
        read=one.read + other.read,
        written=one.written + other.written,
        skipped=one.skipped + other.skipped,
        rejected=one.rejected + other.rejected,
        parts=one.parts + other.parts,
        row_errors=one.row_errors + other.row_errors,
        first_errors=[*one.first_errors, *other.first_errors][:SHOWN_ERRORS],
        error_classes=one.error_classes + other.error_classes,
    )


def sum_of(usages: Iterable[Usage]) -> Usage:
    """What several workers have done."""
    usages = list(usages)
    return Usage(
        reduce(added, (usage.counts for usage in usages), Counts()),
        sum(usage.calls for usage in usages),
        sum(usage.retries for usage in usages),
        sum(usage.units for usage in usages),
        sum(usage.resumed for usage in usages),
    )
