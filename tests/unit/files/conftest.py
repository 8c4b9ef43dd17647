from collections.abc import Callable
from typing import NamedTuple

import pytest

from etlkit.api.run import Run, RunRequest, Settings
from etlkit.api.source import ROW_ID
from etlkit.rows.batches import RowDecoder
from etlkit.testing.contract_job import contract_job


class Read(NamedTuple):
    types: dict[str, str]
    ids: list[str]
    rows: list[dict]


@pytest.fixture
def read() -> Callable[..., Read]:
    """Read a source as a run does or, with frozen=False, as a preview does."""

    def call(source, *, limit=None, frozen=True, environ=None) -> Read:
        with Run(RunRequest("files", Settings(environ=environ or {}), limit=limit)) as run:
            reader = source.open(contract_job(source=source), run)
            try:
                if frozen:
                    reader.freeze()
                decoder, ids, rows = RowDecoder(reader.columns), [], []
                for batch in reader.batches():
                    ids += batch.column(ROW_ID).to_pylist()
                    rows += decoder.decode(batch).rows
            finally:
                reader.close(succeeded=True)
        if frozen:
            assert reader.num_rows == len(rows)
        return Read({column.name: column.ddl for column in reader.columns}, ids, rows)

    return call
