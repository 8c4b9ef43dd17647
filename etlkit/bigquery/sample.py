"""A random sample of a query's rows, frozen like the rows of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from etlkit.api.source import Sampling
from etlkit.bigquery.names import TableName, work_dataset
from etlkit.bigquery.results.results_table import ResultsTable
from etlkit.bigquery.source import BigQueryReader, BigQuerySource
from etlkit.bigquery.sql import frozen_rows

if TYPE_CHECKING:
    from etlkit.api.job_options import JobOptions
    from etlkit.api.reuse import Reuse
    from etlkit.api.run import Run
    from etlkit.bigquery.client import Connection
    from etlkit.rows.columns import Column


@dataclass(frozen=True, slots=True)
class LeaveOut:
    """Which rows are not taken: those whose results are known.

    The rows of a sample that are not known would be no sample of all that are not: those that an
    earlier rehearsal has rejected would be most of them.

    Attributes:
        work_dataset: Where the results are.
        plan: Which results count, for these columns of the source; None = none do.
    """

    work_dataset: str
    plan: Callable[[tuple[Column, ...]], Reuse | None]


@dataclass(frozen=True)
class SampledSource(BigQuerySource):
    """Some rows of a query, chosen at random.

    The query is billed once: all of its rows are frozen in `src_<run id>_all`, and the sample is taken
    from there. Both tables are dropped at the end, also after a failure.

    Attributes:
        sampling: Which rows, and what is found out.
        leave_out: Rows that are not taken; None = any row may be.
    """

    sampling: Sampling = field(default_factory=lambda: Sampling(0), compare=False)
    leave_out: LeaveOut | None = field(default=None, compare=False)

    def open(self, job: JobOptions, run: Run) -> SampledReader:
        """See `etlkit.api.source.Source.open`."""
        return SampledReader(self, run, self.connect(job, run))


def sampled(
    source: BigQuerySource, sampling: Sampling, leave_out: LeaveOut | None = None
) -> SampledSource:
    """A source of some rows of a query."""
    own = {each.name: getattr(source, each.name) for each in fields(BigQuerySource)}
    return SampledSource(**own, sampling=sampling, leave_out=leave_out)


class SampledReader(BigQueryReader):
    """See `etlkit.api.source.SourceReader`."""

    def __init__(self, source: SampledSource, run: Run, connection: Connection) -> None:
        super().__init__(source, run, connection)
        self._sampling = source.sampling
        self._known = source.leave_out
        self.details = {
            **self.details,
            "sample_rows": source.sampling.num_rows,
            "sample_seed": source.sampling.seed,
        }

    @property
    def population(self) -> TableName:
        """The table of all frozen rows."""
        return TableName(*self._dataset, f"{self.frozen.table}_all")

    def _snapshot(self) -> None:
        sampling, source = self._sampling, self._source
        self._connection.query(
            frozen_rows.snapshot(self.population, source.query, None),
            "snapshot",
            parameters=self._parameters,
            maximum_bytes_billed=source.maximum_bytes_billed,
        )
        frozen = self._connection.find_table(self.population)
        sampling.num_source_rows = None if frozen is None else frozen.num_rows
        text = frozen_rows.sample(
            self.frozen,
            self.population,
            self.columns,
            sampling.num_rows,
            sampling.seed,
            where=self._unknown(),
        )
        self._connection.query(text, "sample")

    def _unknown(self) -> str:
        """What is true of rows that are not known; empty = none is known."""
        reuse = None if self._known is None else self._known.plan(self.columns)
        if self._known is None or reuse is None or reuse.is_fresh:
            return ""
        dataset = work_dataset(self._known.work_dataset, self._connection.project)
        return ResultsTable(self._connection, self._run, dataset, reuse).unknown("t")

    def close(self, *, succeeded: bool) -> None:
        """Drop all frozen rows: nobody resumes a sample."""
        super().close(succeeded=succeeded)
        if self._table is not None:
            rest = [] if succeeded else [self.frozen, self._rest]
            self._connection.drop_beside([self.population, *rest])
