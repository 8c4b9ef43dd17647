"""One attempt at a run, in a process of its own: what `etlkit run JOB`, or its `--resume`, would do."""

from __future__ import annotations

import json
import logging
import os
import random
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etlkit.errors import EtlkitError, RunStateError

if TYPE_CHECKING:
    from etlkit.api.job import TransferJob
    from etlkit.api.report import RunReport
    from etlkit.testing.proving.own_calls import Watch

SAMPLE = "etlkit_prove.sample"
SHUFFLED = "etlkit_prove.shuffled"

_POLL_S = 0.01

LoadJob = Callable[[str], "TransferJob"]


@dataclass(frozen=True)
class Order:
    """What a process has to do.

    Attributes:
        target: The job, as the command line names it.
        source: The table with the rows.
        batch_rows: Rows that come at once.
        name: Of the job in the ledger.
        resume: Whether to go on with a run.
        local_dir: Of the throw-away local world.
        environ: Environment variables that lead to the gateways and proxies.
        control: Address of the gateway's control port.
        ports: Ports that are no business of a user's code.
        allowed_hosts: See `Watch`.
        variables: Values of custom variables.
        queued_at: Time for `Timestamp` variables, as ISO 8601.
        call_timeout_s: The most that an attempt at a call may take; None = as the policy says.
        outcome: File for the `Outcome`.
        log: File for stdout and stderr.
    """

    target: str
    source: str
    batch_rows: int
    name: str
    resume: bool
    local_dir: str
    environ: Mapping[str, str]
    control: str
    ports: Sequence[int]
    allowed_hosts: Sequence[str]
    variables: Mapping[str, Any]
    queued_at: str
    call_timeout_s: float | None
    outcome: str
    log: str


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended. A process that was killed leaves none.

    Attributes:
        error: Its text; empty = the run is published.
        exit_code: As of the command line.
        report: Of the run; empty = there is none.
        past_etlkit: Connections past etlkit: `host:port`, the line of the user's code, how many.
    """

    error: str
    exit_code: int
    report: Mapping[str, Any] = field(default_factory=dict)
    past_etlkit: Sequence[tuple[str, str, int]] = ()


def make_attempt(order: Order, load: LoadJob) -> None:
    """Make the attempt and write down how it ended.

    Args:
        order: What to do.
        load: Imports the job by its name on the command line.
    """
    _seem_new(Path(order.log))
    watch: Watch | None = None
    try:
        from etlkit.calls.clock import no_sleep
        from etlkit.runner import local_world
        from etlkit.testing.proving.own_calls import Router, Watch, rerouted

        job = load(order.target)
        with local_world(order.local_dir):
            os.environ.update(order.environ)
            router = Router(order.control, order.ports)
            watch = Watch(router, order.allowed_hosts)
            with rerouted(router, order.call_timeout_s), no_sleep():
                watch.begin()
                seem_large(order.batch_rows)
                report = _run(proved_job(job, order), order)
        outcome = Outcome("", 0, asdict(report), _seen(watch))
    except BaseException as error:
        logging.getLogger("etlkit").exception("the attempt failed")
        ended = getattr(error, "report", None)
        code = error.exit_code if isinstance(error, EtlkitError) else 1
        known = {} if ended is None else asdict(ended)
        outcome = Outcome(str(error) or type(error).__name__, code, known, _seen(watch))
    file = Path(order.outcome)
    part = file.with_suffix(".part")
    part.write_text(json.dumps(asdict(outcome), default=str), encoding="utf-8")
    part.replace(file)


def proved_job(job: TransferJob, order: Order) -> TransferJob:
    """The user's job with the sample as its source, and without what would stand in the way.

    Caps and rates are for calls that cost something. Known rows would not be called for.
    """
    from etlkit.bigquery import BigQuerySource
    from etlkit.engine.expansion import expand_transfer

    queued_at = datetime.fromisoformat(order.queued_at)
    job, _ = expand_transfer(
        job, given=order.variables, queued_at=queued_at, started_at=datetime.now(UTC)
    )
    return replace(
        job,
        name=order.name,
        source=BigQuerySource(f"SELECT * FROM {order.source}"),
        sink=replace(job.sink, create_dataset=True),  # type: ignore[type-var]
        rate_limit=None,
        max_calls=None,
        max_cost=None,
        reuse=None,
        journal="off" if job.journal == "off" else None,
    )


def _run(job: TransferJob, order: Order) -> RunReport:
    """Run it, or go on; begin anew where a user would have to."""
    from etlkit.runner import run_job

    if order.resume:
        try:
            return run_job(job, resume="last")
        except RunStateError as error:
            if not _must_begin_anew(job):
                raise
            logging.getLogger("etlkit").info("a new run begins: %s", error)
    return run_job(job)


def _must_begin_anew(job: TransferJob) -> bool:
    """Whether there is nothing to resume: no run is known yet, or its mode keeps none."""
    from etlkit.api.run import Run, RunRequest
    from etlkit.bigquery.client import connect
    from etlkit.bigquery.modes import MODES
    from etlkit.bigquery.names import work_dataset
    from etlkit.bigquery.runs.ledger import Ledger
    from etlkit.runner import environment

    sink: Any = job.sink
    if not MODES[sink.mode].is_staged:
        return True
    with Run(RunRequest("prove", environment())) as run:
        connection = connect(run)
        ledger = Ledger(connection, work_dataset(sink.work_dataset, connection.project))
        return not (ledger.is_made() and ledger.find("job = @value", str(job.name)))


def _seem_new(log: Path) -> None:
    """Be what a process is that was just started: its own output, identity and random numbers."""
    from etlkit.bigquery.runs import process_identity

    stream = log.open("a", encoding="utf-8")
    sys.stdout.flush()
    sys.stderr.flush()
    for number in (1, 2):
        os.dup2(stream.fileno(), number)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", force=True)
    process_identity.PROCESS_ID = secrets.token_hex(8)
    random.seed()
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()


def seem_large(num_rows: int) -> None:
    """Let a small sample go through a run in as many steps as a large table does.

    Its rows come in several batches, and are staged one batch after the other: so a kill finds some of
    them staged, and others not.

    Args:
        num_rows: Of a batch.
    """
    from etlkit.engine import batch_writer, pipeline, transform_spec

    batch_writer.FLUSH_INTERVAL_S = 0.0
    pipeline._POLL_INTERVAL_S = _POLL_S  # noqa: SLF001 - in a process of its own
    transform_spec._CHUNK_ROWS = num_rows  # noqa: SLF001
    transform_spec._SHARED_CHUNK_ROWS = num_rows  # noqa: SLF001


def _seen(watch: Watch | None) -> list[tuple[str, str, int]]:
    return [] if watch is None else [(*key, number) for key, number in watch.seen.items()]
