"""The comparison: a frozen sample, the old code in a process of its own, then the new code here."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etlkit.api.run import Run
from etlkit.api.source import ROW_ID, Sampling
from etlkit.calls.recording import Recording
from etlkit.cli.diff.child import run_child, write_rows
from etlkit.cli.diff.old_code import old_code
from etlkit.cli.diff.versions import expanded
from etlkit.engine.comparison import compare
from etlkit.engine.side import FrozenRows, run_side
from etlkit.rows.batches import RowDecoder
from etlkit.rows.json_rows import row_to_json

if TYPE_CHECKING:
    from etlkit.api.diff_report import DiffReport
    from etlkit.api.job import TransferJob
    from etlkit.api.run import RunRequest, Settings

log: logging.Logger = logging.getLogger("etlkit")

_WHERE = ("local", "local_dir", "local_location", "project", "location")


def diff_job(
    target: str | None,
    job: TransferJob,
    *,
    name: str,
    settings: Settings,
    variables: Mapping[str, Any],
    queued_at: datetime | None,
    against: str,
    sampling: Sampling,
    options: Mapping[str, Any],
    on_start: Callable[[Run], None],
) -> DiffReport:
    """Compare what a job's transform makes of a sample with what another version makes.

    Args:
        target: The job as the command line names it; None = it is made of a script.
        job: The job.
        name: Its name.
        settings: Project, location and environment.
        variables: Values of custom variables.
        queued_at: Time from which `Timestamp` variables count; None = now.
        against: The other version: a git revision, or a file.
        sampling: Which rows.
        options: Of the command line, for the other process.
        on_start: Called with each run of this process before it begins.

    Raises:
        ConfigError: There is no such version, or one of the two cannot run over these rows.
        EtlkitError: The source cannot be read, or a transform failed outside of a row.
    """
    now = datetime.now(UTC)
    with old_code(against) as code, tempfile.TemporaryDirectory(prefix="etlkit-rows-") as text:
        folder = Path(text)
        new_job, request = expanded(job, name, settings, variables, now, queued_at or now)
        with _frozen(new_job, request, sampling, on_start) as frozen:
            write_rows(folder, frozen.columns, list(frozen.batches), frozen.table)
            source_rows = _as_json(frozen)
            log.info(
                "comparing %s rows with %s; calls are real", f"{len(source_rows):,}", code.shown
            )
            order = {
                "target": target,
                "script": _script(options),
                "name": name,
                "variables": dict(variables),
                "now": now.isoformat(),
                "queued_at": (queued_at or now).isoformat(),
                "options": _where(options),
            }
            old = run_child(code, folder, order)
            recording = Recording(folder / "answers.db", replays=True)
            try:
                new = run_side(new_job, request, frozen, recording, on_start)
            finally:
                recording.close()
    return compare(
        name,
        source_rows,
        old,
        new,
        versions=(code.shown, "the working tree"),
        sampling=sampling,
        currency=job.currency,
        compares_files=code.file is None,
    )


@contextmanager
def _frozen(
    job: TransferJob,
    request: RunRequest,
    sampling: Sampling,
    on_start: Callable[[Run], None],
) -> Iterator[FrozenRows]:
    """The sample, frozen until the comparison is over."""
    from etlkit.bigquery.sample import SampledReader, sampled
    from etlkit.bigquery.source import BigQuerySource
    from etlkit.engine.sample import SampledRows

    with Run(request, labels=job.labels) as run:
        on_start(run)
        own = job.source
        source = (
            sampled(own, sampling)
            if isinstance(own, BigQuerySource)
            else SampledRows(own, sampling)
        )
        reader = source.open(job, run)
        try:
            reader.freeze()
            table = str(reader.frozen) if isinstance(reader, SampledReader) else None
            yield FrozenRows(reader.columns, list(reader.batches()), table)
        finally:
            reader.close(succeeded=True)


def _as_json(frozen: FrozenRows) -> dict[str, dict[str, Any]]:
    decoder, rows = RowDecoder(frozen.columns), dict[str, dict[str, Any]]()
    for batch in frozen.batches:
        ids = batch.column(ROW_ID).to_pylist()
        rows |= zip(ids, map(row_to_json, decoder.decode(batch).rows), strict=True)
    return rows


def _script(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that make a job of a script, as JSON values."""
    from etlkit.cli.script_options import PARTNERS

    names = ("script", *PARTNERS, "variables")
    return {
        name: str(options[name]) if isinstance(options[name], Path) else options[name]
        for name in names
    }


def _where(options: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: options[name] for name in _WHERE}
    return {**found, "local_dir": str(Path(options["local_dir"]).resolve())}
