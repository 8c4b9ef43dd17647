"""Read a source to its end, as a run or a preview does; and write files to read."""

import json
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from etlkit.api.run import Run, RunRequest, Settings
from etlkit.api.source import ROW_ID
from etlkit.rows.batches import RowDecoder
from etlkit.testing.contract_job import contract_job


class Read(NamedTuple):
    types: dict[str, str]
    ids: list[str]
    rows: list[dict]


def read_source(source, *, limit=None, frozen=True, environ=None) -> Read:
    """Read a source as a run does or, with frozen=False, as a preview does."""
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


def write_file(path: Path, content) -> str:
    """Write a table as Parquet, rows as JSON Lines, text or bytes as they are; gives the path."""
    if isinstance(content, pa.Table):
        pq.write_table(content, path)
        return str(path)
    if isinstance(content, list):
        content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in content)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)
