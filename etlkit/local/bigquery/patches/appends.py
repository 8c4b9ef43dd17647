"""AppendRows of the Storage Write API.

Real BigQuery: columns, including nested ones, are matched by name. GEOGRAPHY is sent as WKT and JSON as
text. Only the first request on a connection has to name the stream. The emulator: it dropped the fields
of STRUCTs, matched columns by position, failed on GEOGRAPHY, and required the stream in every request.
Each open connection occupied one of a few threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import bqemulator.grpc_api.write_servicer as servicer
import duckdb
import grpc
import pyarrow as pa
from bqemulator.api.routes.tabledata import _build_arrow_schema, _fields_raw_from_schema
from bqemulator.storage.sql_identifiers import quoted_table_ref
from bqemulator.streaming.arrow_deserializer import deserialize_arrow_rows
from bqemulator.streaming.proto_deserializer import ProtoRowDecoder, proto_rows_to_arrow_table
from bqemulator.streaming.strategies import select_strategy
from bqemulator.streaming.strategies.base import AppendStatus
from google.cloud.bigquery_storage_v1 import types
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import status_pb2  # type: ignore[import-untyped]

from etlkit.local.bigquery.patches.single_connection import to_completion
from etlkit.local.bigquery.patches.table import PATCHES
from etlkit.local.bigquery.patches.types import quote
from etlkit.local.bigquery.rules.appends import AppendRefusedError, check
from etlkit.local.bigquery.rules.late_columns import unseen_columns
from etlkit.local.bigquery.rules.missing_values import MissingValues

if TYPE_CHECKING:
    from bqemulator.streaming.write_stream import WriteStream


@dataclass
class _Connection:
    """The parts of earlier requests that later ones may leave out."""

    stream: str = ""
    arrow_schema: bytes | None = None
    proto: ProtoRowDecoder | None = None
    missing: MissingValues = field(default_factory=MissingValues)


class AppendHandler(servicer.BigQueryWriteHandler):
    """The emulator's Write API, with our own appends."""

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler | None:
        """Handle the calls that write, and leave the others to the emulator."""
        method = handler_call_details.method
        if method == servicer._APPEND_ROWS:  # noqa: SLF001
            return grpc.stream_stream_rpc_method_handler(self._append_rows)
        if method == servicer._BATCH_COMMIT_WRITE_STREAMS:  # noqa: SLF001
            return self._exclusive(self._handle_batch_commit_write_streams)
        if method == servicer._FLUSH_ROWS:  # noqa: SLF001
            return self._exclusive(self._handle_flush_rows)
        return super().service(handler_call_details)

    def _exclusive(self, handle: Callable[[bytes, Any], bytes]) -> grpc.RpcMethodHandler:
        async def handle_exclusively(raw: bytes, context: Any) -> bytes:
            engine: Any = self._ctx.engine
            async with engine.connection_lock:
                return await to_completion(asyncio.to_thread(handle, raw, context))

        return grpc.unary_unary_rpc_method_handler(handle_exclusively)

    async def _append_rows(
        self, requests: AsyncIterator[bytes], context: Any
    ) -> AsyncIterator[bytes]:
        connection = _Connection()
        async for raw in requests:
            if len(raw) > self._ctx.settings.write_api_max_request_bytes:
                yield servicer._oversize_error_response(  # noqa: SLF001
                    request_bytes_len=len(raw),
                    max_bytes=self._ctx.settings.write_api_max_request_bytes,
                    bound_ctx=None,
                )
                continue
            request = types.AppendRowsRequest.deserialize(raw)
            connection.stream = request.write_stream or connection.stream
            stream = self._resolve_append_stream(connection.stream, context)
            if stream is None:
                return
            try:
                yield await self._append(request, connection, stream)
            except AppendRefusedError as refused:
                yield _refusal(stream.name, refused)

    async def _append(self, request: Any, connection: _Connection, stream: WriteStream) -> bytes:
        meta = self._ctx.catalog.get_table(stream.project_id, stream.dataset_id, stream.table_id)
        if meta is None:
            raise AppendRefusedError(f"Table is deleted: {stream.name}", code="TABLE_NOT_FOUND")
        if meta.table_type in {"EXTERNAL", "VIEW"}:
            raise AppendRefusedError(f"Cannot add rows to a table of type {meta.table_type}.")
        fields = meta.schema_.fields
        rows = _decode(request, connection, fields)
        connection.missing.read(request)
        offset = int(request.offset) if servicer._has_offset(request) else None  # noqa: SLF001
        limit = self._ctx.settings.write_api_max_stream_rows
        engine: Any = self._ctx.engine
        async with engine.connection_lock:

            def append() -> bytes:
                filled = self._filled(rows, connection, stream, fields)
                return self._append_or_undo(stream, filled, offset, limit)

            return await to_completion(asyncio.to_thread(append))

    def _filled(
        self, rows: pa.Table, connection: _Connection, stream: WriteStream, fields: Any
    ) -> pa.Table:
        """The rows with what the request says of missing values, if they fit the table."""
        raw_fields: Any = _fields_raw_from_schema(fields)
        name = (stream.project_id, stream.dataset_id, stream.table_id)
        duckdb_connection = self._ctx.engine.connection
        unseen = unseen_columns(self._ctx.engine.late_columns, name)
        seen = [field for field in fields if field.name.casefold() not in unseen]
        check(rows, seen, connection.missing.defaulted(name, duckdb_connection))
        target = _narrow_schema(_build_arrow_schema(raw_fields))
        try:
            rows = rows.cast(_narrow_schema(rows.schema))
        except pa.ArrowInvalid as error:
            raise AppendRefusedError(
                "A BIGNUMERIC of the local BigQuery has at most 20 digits before the point and 18 "
                "after it; see docs/guides/local.md"
            ) from error
        return connection.missing.fill(rows, target, name, duckdb_connection)

    def _append_or_undo(
        self, stream: WriteStream, rows: pa.Table, offset: int | None, limit: int
    ) -> bytes:
        """Append, and restore the offset if the rows cannot be written."""
        with stream.lock:
            before = (stream.next_offset, stream.row_count)
            outcome = select_strategy(stream.stream_type).append(
                stream, rows, offset, max_buffered_rows=limit
            )
            if outcome.status is not AppendStatus.OK:
                code = servicer._proto_to_grpc_status(outcome.status)  # noqa: SLF001
                return servicer._error_response(stream.name, outcome.detail, code)  # noqa: SLF001
            try:
                if outcome.committed_rows is not None and outcome.committed_rows.num_rows > 0:
                    self._flush_to_target(stream, outcome.committed_rows)
            except (duckdb.Error, pa.ArrowException) as error:
                stream.next_offset, stream.row_count = before
                raise AppendRefusedError(_first_line(error)) from error
        return servicer._ok_response(stream.name, outcome)  # noqa: SLF001

    def _flush_to_target(self, stream: WriteStream, rows: pa.Table) -> None:
        table = (stream.project_id, stream.dataset_id, stream.table_id)
        columns = ", ".join(map(quote, rows.column_names))
        connection = self._ctx.engine.connection
        connection.register("etlkit_append", rows)
        try:
            connection.execute(
                f"INSERT INTO {quoted_table_ref(*table)} ({columns}) "
                f"SELECT {columns} FROM etlkit_append"
            )
        finally:
            connection.unregister("etlkit_append")
        snapshots: Any = self._ctx.snapshots
        snapshots.record_append(*table)


def _decode(request: Any, connection: _Connection, fields: Any) -> pa.Table:
    """The rows of a request, in Arrow."""
    raw_fields: Any = _fields_raw_from_schema(fields)
    target = _build_arrow_schema(raw_fields)
    try:
        if "arrow_rows" in request:
            sent = request.arrow_rows
            connection.arrow_schema = (
                sent.writer_schema.serialized_schema or connection.arrow_schema
            )
            if connection.arrow_schema is None:
                raise AppendRefusedError("The first request of a connection needs a writer schema")
            return deserialize_arrow_rows(
                connection.arrow_schema, sent.rows.serialized_record_batch
            )
        if "proto_rows" in request:
            if "writer_schema" in request.proto_rows:
                descriptor = request.proto_rows.writer_schema.proto_descriptor
                connection.proto = ProtoRowDecoder(descriptor)
            if connection.proto is None:
                raise AppendRefusedError("The first request of a connection needs a writer schema")
            sent_rows = list(request.proto_rows.rows.serialized_rows)
            return proto_rows_to_arrow_table(connection.proto, sent_rows, target)
    except (ValueError, pa.ArrowException) as error:
        raise AppendRefusedError(f"The rows cannot be read: {error}") from error
    return target.empty_table()


def _narrow_schema(schema: pa.Schema) -> pa.Schema:
    """Replace decimal256, the Arrow type of BIGNUMERIC, because DuckDB does not have it."""
    return pa.schema([field.with_type(_narrow(field.type)) for field in schema])


def _narrow(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_decimal256(kind):
        return pa.decimal128(38, min(kind.scale, 18))
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_narrow(kind.value_type)))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_narrow(field.type)) for field in kind])
    return kind


def _first_line(error: Exception) -> str:
    return str(error).split("\n", maxsplit=1)[0]


def _refusal(stream: str, refused: AppendRefusedError) -> bytes:
    status = status_pb2.Status(
        code=grpc.StatusCode.INVALID_ARGUMENT.value[0], message=f"{refused} Entity: {stream}"
    )
    if refused.code is not None:
        detail = types.StorageError(
            code=types.StorageError.StorageErrorCode[refused.code],
            entity=stream,
            error_message=str(refused),
        )
        packed = AnyMessage()
        packed.Pack(types.StorageError.pb(detail))
        status.details.append(packed)
    answer = types.AppendRowsResponse(write_stream=stream, error=status)
    answer.row_errors = [
        types.RowError(index=index, code=types.RowError.RowErrorCode.FIELDS_ERROR, message=message)
        for index, message in refused.rows
    ]
    serialized: bytes = types.AppendRowsResponse.serialize(answer)
    return serialized


def apply() -> None:
    """Serve the Write API with this handler."""
    PATCHES.replace("bqemulator.grpc_api.write_servicer:BigQueryWriteHandler", AppendHandler)
