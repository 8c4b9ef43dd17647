"""A random sample of any source's rows: it is read to its end, and most rows are left out."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from etlkit.api.source import Sampling, Source
from etlkit.engine.output_schema import int_array

if TYPE_CHECKING:
    import pyarrow as pa

    from etlkit.api.job_options import JobOptions
    from etlkit.api.outcomes import Recovered
    from etlkit.api.run import Run
    from etlkit.api.source import SourceReader
    from etlkit.rows.row import Row
    from etlkit.variables.definitions import Value


@dataclass(frozen=True)
class SampledRows:
    """See `etlkit.api.source.Source`: some rows of another source, in its order.

    Attributes:
        source: The other one.
        sampling: Which rows, and what is found out.
    """

    source: Source
    sampling: Sampling

    @property
    def fingerprint(self) -> str:
        """See `etlkit.api.source.Source.fingerprint`."""
        return self.source.fingerprint

    def expand(self, values: Mapping[str, Value]) -> tuple[SampledRows, frozenset[str]]:
        """See `etlkit.api.source.Source.expand`."""
        source, used = self.source.expand(values)
        return SampledRows(source, self.sampling), used

    def open(self, job: JobOptions, run: Run) -> SampledRowsReader:
        """See `etlkit.api.source.Source.open`."""
        return SampledRowsReader(self.source.open(job, run), self.sampling)


class SampledRowsReader:
    """See `etlkit.api.source.SourceReader`.

    Args:
        reader: Of the other source.
        sampling: Which rows.
    """

    def __init__(self, reader: SourceReader, sampling: Sampling) -> None:
        self._reader = reader
        self._sampling = sampling
        self._positions: list[int] = []
        self.columns = reader.columns
        self.num_bytes: int | None = reader.num_bytes
        self.num_rows: int | None = None
        self.details = {
            **reader.details,
            "sample_rows": sampling.num_rows,
            "sample_seed": sampling.seed,
        }

    def freeze(self, recovered: Recovered | None = None) -> None:
        """See `etlkit.api.source.SourceReader.freeze`."""
        if recovered is not None and recovered.counts.finished:
            raise AssertionError("a sample is not resumed")
        self._reader.freeze()
        total = self._reader.num_rows
        if total is None:
            total = sum(batch.num_rows for batch in self._reader.batches())
        self._sampling.num_source_rows = total
        chosen = random.Random(self._sampling.seed)  # noqa: S311 - no secret  # nosec B311
        self.num_rows = min(self._sampling.num_rows, total)
        self._positions = sorted(chosen.sample(range(total), self.num_rows))

    def batches(self) -> Iterator[pa.RecordBatch]:
        """See `etlkit.api.source.SourceReader.batches`."""
        first, positions = 0, iter(self._positions)
        position = next(positions, None)
        for batch in self._reader.batches():
            end, chosen = first + batch.num_rows, []
            while position is not None and position < end:
                chosen.append(position - first)
                position = next(positions, None)
            first = end
            if chosen:
                yield batch.take(int_array(chosen))
            if position is None:
                return

    def fetch(self, row_ids: Sequence[str]) -> Mapping[str, Row]:
        """See `etlkit.api.source.SourceReader.fetch`."""
        return self._reader.fetch(row_ids)

    def close(self, *, succeeded: bool) -> None:
        """See `etlkit.api.source.SourceReader.close`."""
        self._reader.close(succeeded=succeeded)
