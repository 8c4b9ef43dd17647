"""The Storage Read API.

Real BigQuery: GEOGRAPHY is sent as WKT, JSON as text, and BIGNUMERIC as decimal256(76, 38). Integers
have 64 bits, and an empty array is never NULL. A stream can be read from any offset, and messages are
small. The result of a query can be read, too: it is a table. The emulator: it sent DuckDB's own types,
always started at row 0, sent a whole table in one message, kept each session's table in memory until
the server ended, and did not find the results that it had named.

What is given up: a session is a file on disk, which ends with the server, and only the newest
`MAX_SESSIONS` are kept.
"""

from __future__ import annotations

import asyncio
import shutil
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import bqemulator.grpc_api.read_servicer as servicer
import bqemulator.streaming.read_session as emulator_sessions
import duckdb
import grpc
import pyarrow as pa
from bqemulator.domain.errors import InvalidQueryError, ValidationError
from bqemulator.row_access.identity import resolve_caller_from_metadata
from google.cloud.bigquery_storage_v1 import types

from etlkit.local.bigquery.patches.arrow_types import read_expression, read_field
from etlkit.local.bigquery.patches.job_results import ResultTable, find_result
from etlkit.local.bigquery.patches.single_connection import to_completion
from etlkit.local.bigquery.patches.table import PATCHES
from etlkit.local.bigquery.patches.types import columns_of, quote
from etlkit.local.bigquery.patches.work import CLIENT_GONE, StoppedError, interruptible
from etlkit.local.bigquery.rules.registry import Asked, ask

MAX_SESSIONS: Final = 32
MAX_MESSAGE_BYTES: Final = 1_000_000
"""gRPC clients accept 4 MB by default. BigQuery's own messages have about 1 MB."""

_FILE_BATCH_ROWS: Final = 20_000

_TableSource = tuple[str, str]
"""A table's quoted name, and the SELECT of its rows."""


@dataclass
class _Session:
    """The rows of a read session in a file.

    Attributes:
        path: An Arrow IPC file.
        num_rows: The number of its rows.
        streams: For each name of a stream, its first row and the row after its last one.
    """

    path: Path
    num_rows: int
    streams: dict[str, tuple[int, int]] = field(default_factory=dict)

    def read(self, start: int, end: int) -> Iterator[pa.RecordBatch]:
        """Rows `start` to `end`, in batches of at most `MAX_MESSAGE_BYTES`."""
        first = 0
        with pa.memory_map(str(self.path)) as source, pa.ipc.open_file(source) as reader:
            for number in range(reader.num_record_batches):
                batch = reader.get_batch(number)
                low, high = max(start - first, 0), min(end - first, batch.num_rows)
                if low < high:
                    yield from _split(batch.slice(low, high - low))
                first += batch.num_rows


def _split(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    if batch.num_rows <= 1 or batch.nbytes <= MAX_MESSAGE_BYTES:
        yield batch
        return
    half = batch.num_rows // 2
    yield from _split(batch.slice(0, half))
    yield from _split(batch.slice(half))


def _select(table_ref: str, wanted: Any, caller: Any = None) -> str:
    """The SELECT of a read session. The emulator drops a filter that it cannot translate.

    Raises:
        ValidationError: The filter cannot be used.
    """
    sql: str = servicer._build_read_sql(table_ref, None, wanted, caller=caller)  # noqa: SLF001
    if wanted.read_options.row_restriction and sql == f"SELECT * FROM {table_ref}":
        raise ValidationError("Invalid row restriction: it is not a GoogleSQL condition")
    return sql


class ReadHandler(servicer.BigQueryReadHandler):
    """The emulator's Read API, with our own sessions for Arrow. The emulator handles Avro."""

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._root = Path(context.settings.data_dir) / "read_sessions"
        shutil.rmtree(self._root, ignore_errors=True)  # left by a server that was killed
        self._root.mkdir(parents=True)

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler | None:
        """Handle calls in coroutines: a blocking handler would occupy a thread while a client reads."""
        if handler_call_details.method == servicer._CREATE_READ_SESSION:  # noqa: SLF001
            return grpc.unary_unary_rpc_method_handler(self._create_session)
        if handler_call_details.method == servicer._READ_ROWS:  # noqa: SLF001
            return grpc.unary_stream_rpc_method_handler(self._read_rows)
        return super().service(handler_call_details)

    async def _create_session(self, raw: bytes, context: Any) -> bytes:
        request = types.CreateReadSessionRequest.deserialize(raw)
        engine: Any = self._ctx.engine
        with engine.reading() as work:
            if self._is_refused(request.read_session, context):
                return b""
            if request.read_session.data_format == types.DataFormat.AVRO:
                self._forget_avro_sessions()
                avro = asyncio.to_thread(self._handle_create_read_session, raw, context)
                return await to_completion(avro)
            source = self._source(request, context)
            if source is None:
                return b""
            try:
                freeze = asyncio.to_thread(self._freeze, request, source)
                schema, session = await to_completion(freeze, lambda: work.stop(CLIENT_GONE))
            except StoppedError as error:
                await context.abort(grpc.StatusCode.CANCELLED, error.message)
            except duckdb.Error as error:
                code = grpc.StatusCode.INVALID_ARGUMENT
                await context.abort(code, str(error).split("\n", maxsplit=1)[0])
        return self._answer(request, schema, session)

    def _is_refused(self, wanted: Any, context: Any) -> bool:
        """Whether a rule refuses the session; the answer says so then."""
        target = servicer._resolve_read_target(wanted, context)  # noqa: SLF001
        meta = None if target is None else self._ctx.catalog.get_table(*target[:3])
        if meta is None:
            return False
        try:
            ask(Asked.READ, meta, wanted.read_options.row_restriction)
        except InvalidQueryError as refused:
            context.set_code(grpc.StatusCode.INVALID_ARGUMENT)
            context.set_details(f"request failed: {refused.message}")
            return True
        return False

    def _forget_avro_sessions(self) -> None:
        while len(emulator_sessions._SESSIONS) >= MAX_SESSIONS:  # noqa: SLF001
            oldest = next(iter(emulator_sessions._SESSIONS))  # noqa: SLF001
            del emulator_sessions._SESSIONS[oldest]  # noqa: SLF001

    def _source(self, request: Any, context: Any) -> _TableSource | ResultTable | None:
        """The result of a query, or a table and the SELECT with filter and row access policies."""
        wanted = request.read_session
        target = servicer._resolve_read_target(wanted, context)  # noqa: SLF001
        if target is None:
            return None
        project, dataset, table, table_ref, _ = target
        result = find_result(dataset, table)
        if result is not None:
            return result
        if self._ctx.catalog.get_table(project, dataset, table) is None:
            context.set_code(grpc.StatusCode.NOT_FOUND)
            context.set_details(f"Not found: Table {project}:{dataset}.{table}")
            return None
        caller = resolve_caller_from_metadata(list(context.invocation_metadata()))
        plain = _select(table_ref, wanted, caller)
        select = self._apply_row_access_rewrite(
            sql=plain,
            project_id=project,
            dataset_id=dataset,
            table_id=table,
            selected_fields=None,
            read_session=wanted,
            caller=caller,
            context=context,
        )
        return None if select is None else (table_ref, select)

    def _freeze(
        self, request: Any, source: _TableSource | ResultTable
    ) -> tuple[pa.Schema, _Session]:
        if isinstance(source, ResultTable):
            with source.connect() as connection:
                select = _select(source.name, request.read_session)
                columns = source.columns(connection)
                return self._write(request, connection.execute, columns, select)
        table_ref, select = source
        engine = self._ctx.engine
        return self._write(request, engine.execute, columns_of(engine, table_ref), select)

    def _write(
        self,
        request: Any,
        execute: Callable[[str], Any],
        all_columns: list[tuple[str, Any, bool]],
        select: str,
    ) -> tuple[pa.Schema, _Session]:
        """Write the requested columns to a file, one batch of rows at a time."""
        wanted = servicer._selected_fields(request.read_session)  # noqa: SLF001
        names = None if wanted is None else {name.casefold() for name in wanted}
        columns = [
            column for column in all_columns if names is None or column[0].casefold() in names
        ]
        schema = pa.schema([read_field(name, kind, required) for name, kind, required in columns])
        shown = ", ".join(
            f"{read_expression(quote(name), kind)} AS {quote(name)}" for name, kind, _ in columns
        )
        session = _Session(self._root / f"{uuid4().hex}.arrow", 0)
        with (
            interruptible(),
            pa.OSFile(str(session.path), "wb") as sink,
            pa.ipc.new_file(sink, schema) as writer,
        ):
            result = execute(f"SELECT {shown} FROM ({select}) AS t")
            for batch in result.to_arrow_reader(_FILE_BATCH_ROWS):
                writer.write_batch(batch.cast(schema))
                session.num_rows += batch.num_rows
        return schema, session

    def _answer(self, request: Any, schema: pa.Schema, session: _Session) -> bytes:
        wanted = request.read_session
        project = wanted.table.split("/")[1]
        name = f"projects/{project}/locations/us/sessions/{session.path.stem}"
        size = session.path.stat().st_size
        count, chunk = emulator_sessions._compute_stream_layout(  # noqa: SLF001
            session.num_rows, size, request.max_stream_count or 1
        )
        for stream in emulator_sessions._build_streams(  # noqa: SLF001
            name, count, chunk, session.num_rows
        ):
            session.streams[stream.name] = (stream.start_row, stream.end_row)
        self._sessions[name] = session
        while len(self._sessions) > MAX_SESSIONS:
            _, oldest = self._sessions.popitem(last=False)
            oldest.path.unlink(missing_ok=True)
        answer = types.ReadSession(
            name=name,
            table=wanted.table,
            data_format=types.DataFormat.ARROW,
            streams=[types.ReadStream(name=stream) for stream in session.streams],
            estimated_total_bytes_scanned=size,
            estimated_row_count=session.num_rows,
            read_options=wanted.read_options,
            arrow_schema=types.ArrowSchema(serialized_schema=schema.serialize().to_pybytes()),
        )
        serialized: bytes = types.ReadSession.serialize(answer)
        return serialized

    async def _read_rows(self, raw: bytes, context: Any) -> AsyncIterator[bytes]:
        request = types.ReadRowsRequest.deserialize(raw)
        session = self._sessions.get(request.read_stream.rpartition("/streams/")[0])
        if session is None or request.read_stream not in session.streams:
            for message in self._handle_read_rows(raw, context):
                yield message
            return
        start, end = session.streams[request.read_stream]
        if not 0 <= request.offset <= end - start:
            reason = f"Offset {request.offset} is beyond the end of the stream"
            await context.abort(grpc.StatusCode.OUT_OF_RANGE, reason)
        done = request.offset
        for batch in session.read(start + request.offset, end):
            answer = types.ReadRowsResponse(
                row_count=batch.num_rows,
                arrow_record_batch=types.ArrowRecordBatch(
                    serialized_record_batch=batch.serialize().to_pybytes()
                ),
                stats=types.StreamStats(
                    progress=types.StreamStats.Progress(
                        at_response_start=done / (end - start),
                        at_response_end=(done + batch.num_rows) / (end - start),
                    )
                ),
            )
            if done == request.offset:
                schema = batch.schema.serialize().to_pybytes()
                answer.arrow_schema = types.ArrowSchema(serialized_schema=schema)
            done += batch.num_rows
            yield types.ReadRowsResponse.serialize(answer)


def apply() -> None:
    """Serve the Read API with this handler."""
    PATCHES.replace("bqemulator.grpc_api.read_servicer:BigQueryReadHandler", ReadHandler)
