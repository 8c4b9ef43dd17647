"""One side of a comparison: what one version of a job makes of frozen rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from etlkit.api.diff_report import RowSide
from etlkit.api.run import Run
from etlkit.api.sink import ReadsResults
from etlkit.api.source import ROW_ID
from etlkit.engine.estimate import make_calls
from etlkit.engine.output_schema import int_array
from etlkit.engine.reuse import plan_reuse
from etlkit.engine.transform_spec import TransformSpec
from etlkit.engine.trial import run_trial
from etlkit.errors import SourceError
from etlkit.rows.columns import Column
from etlkit.rows.json_rows import row_to_json

if TYPE_CHECKING:
    import pyarrow as pa

    from etlkit.api.job import TransferJob
    from etlkit.api.outcomes import Recovered
    from etlkit.api.run import RunRequest
    from etlkit.calls.recording import Recording
    from etlkit.rows.row import Row


@dataclass(frozen=True, slots=True)
class FrozenRows:
    """Rows that both sides get.

    Attributes:
        columns: Without `ROW_ID`.
        batches: `ROW_ID`, then the columns.
        table: Where they are in BigQuery; None = nowhere.
    """

    columns: tuple[Column, ...]
    batches: Sequence[pa.RecordBatch]
    table: str | None = None


@dataclass(slots=True)
class Side:
    """What a version made of the rows.

    Attributes:
        columns: Names and types of the columns of its target rows.
        rows: By row id.
        code: Digests of its files, by path.
        error_classes: How many rows failed with which class of error.
        known: Rows whose results were kept by earlier runs.
        calls: Calls that were made, retries included.
        replayed: Answers that were taken from the other side.
        units: Billing units.
        cost: Their cost; None = there is no price.
    """

    columns: dict[str, str] = field(default_factory=dict)
    rows: dict[str, RowSide] = field(default_factory=dict)
    code: dict[str, str] = field(default_factory=dict)
    error_classes: dict[str, int] = field(default_factory=dict)
    known: int = 0
    calls: int = 0
    replayed: int = 0
    units: int = 0
    cost: float | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, made: Mapping[str, Any]) -> Side:
        """The inverse of `to_json`, also after a way through JSON."""
        rows = {row_id: RowSide(**row) for row_id, row in made["rows"].items()}
        return cls(**{**made, "rows": rows})


def run_side(
    job: TransferJob,
    request: RunRequest,
    frozen: FrozenRows,
    recording: Recording,
    on_start: Callable[[Run], None] | None = None,
) -> Side:
    """Run rows through a version of a job, except for those whose results are known.

    Args:
        job: The version.
        request: For settings, and the name of the job whose results count.
        frozen: The rows.
        recording: Keeps the answers of calls, or has those of the other side.
        on_start: Called with the run before it begins.

    Raises:
        EtlkitError: The transform failed outside of a row, or cannot read these rows.
    """
    spec = TransformSpec(job)
    with Run(request, labels=job.labels, calls=make_calls(job, recording=recording)) as run:
        if on_start is not None:
            on_start(run)
        spec.read_columns(frozen.columns)
        spec.check_passing(frozen.columns)
        columns, known = _known(job, spec, request, frozen, run)
        trial = run_trial(job, spec, _FrozenReader(frozen, known), run)
        meter = run.calls.meter
    rows = {row_id: _written(found) for row_id, found in known.items()}
    for row in trial.rows:
        rows[row.row_id] = _written(row.after)
        if row.error is not None:
            rows[row.row_id] = RowSide("rejected", (), row.error.message)
    return Side(
        columns={**_used(columns, known), **{c.name: c.ddl for c in trial.columns}},
        rows=rows,
        code=dict(spec.code),
        error_classes=dict(Counter(row.error.kind for row in trial.rows if row.error is not None)),
        known=len(known),
        calls=meter.calls,
        replayed=recording.num_replayed,
        units=meter.units,
        cost=meter.cost,
    )


def _known(
    job: TransferJob, spec: TransformSpec, request: RunRequest, frozen: FrozenRows, run: Run
) -> tuple[tuple[Column, ...], dict[str, list[Row]]]:
    if not job.reuse or frozen.table is None or not isinstance(job.sink, ReadsResults):
        return (), {}
    reuse = plan_reuse(job, spec, request, frozen.columns)
    return ((), {}) if reuse is None else job.sink.read_results(run, reuse, frozen.table)


def _used(columns: Sequence[Column], known: Mapping[str, Sequence[Row]]) -> dict[str, str]:
    """The columns that hold a value: other code may have kept further ones in the same table."""
    rows = [row for found in known.values() for row in found]
    return {
        column.name: column.ddl
        for column in columns
        if any(row.get(column.name) not in (None, []) for row in rows)
    }


def _written(rows: Sequence[Row]) -> RowSide:
    return RowSide("written" if rows else "skipped", tuple(map(row_to_json, rows)))


class _FrozenReader:
    """See `etlkit.api.source.SourceReader`.

    Args:
        frozen: The rows.
        known: Ids of rows to leave out.
    """

    num_rows: int | None = None
    num_bytes: int | None = None

    def __init__(self, frozen: FrozenRows, known: Mapping[str, object]) -> None:
        self._frozen = frozen
        self._known = known
        self.columns = frozen.columns
        self.details: Mapping[str, Any] = {}

    def freeze(self, _recovered: Recovered | None = None) -> None:
        return

    def batches(self) -> Iterator[pa.RecordBatch]:
        for batch in self._frozen.batches:
            ids = batch.column(ROW_ID).to_pylist()
            rest = [index for index, row_id in enumerate(ids) if row_id not in self._known]
            if rest:
                yield batch if len(rest) == len(ids) else batch.take(int_array(rest))

    def fetch(self, row_ids: Sequence[str]) -> Mapping[str, Row]:
        raise SourceError(f"rows of a comparison are not read again ({len(row_ids)} asked for)")

    def close(self, *, succeeded: bool) -> None:  # noqa: ARG002
        return
