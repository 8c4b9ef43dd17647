"""The writer of a run to an API: stages rows, sends them, and records what became of them."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from etlkit.api.outcomes import RefusedRow
from etlkit.api.run import STOP_TIMEOUT_S
from etlkit.api.sink import PART, PARTS
from etlkit.api.source import ROW_ID
from etlkit.bigquery.client import Connection
from etlkit.bigquery.google_errors import errors_as
from etlkit.bigquery.http_sink.answer import AnswerReader
from etlkit.bigquery.http_sink.bundle import Item, ItemOutcome
from etlkit.bigquery.http_sink.headers import Headers
from etlkit.bigquery.http_sink.options import MODE, HttpOptions
from etlkit.bigquery.http_sink.outbox import Leftovers, Outbox
from etlkit.bigquery.http_sink.request_queue import MAX_WAITING_ROWS, RequestQueue
from etlkit.bigquery.http_sink.sender import RequestFormat, Sender
from etlkit.bigquery.http_sink.sql import RESPONSE_COLUMNS
from etlkit.bigquery.http_sink.tables import check_tables, responses_table
from etlkit.bigquery.names import parse_table, work_dataset
from etlkit.bigquery.publish.audit import compare_counts
from etlkit.bigquery.publish.rejects import reject_statements, rejects_table
from etlkit.bigquery.publish.staged_writer import StagedWriter
from etlkit.bigquery.runs.run_owner import RunOwner
from etlkit.bigquery.table_definition import plain_table
from etlkit.calls.connections import HttpPool
from etlkit.calls.limits import as_rate_limit
from etlkit.errors import CountMismatchError, RunTakenOverError, SinkError
from etlkit.rows.batches import RowDecoder

if TYPE_CHECKING:
    import pyarrow as pa

    from etlkit.api.job_options import JobOptions
    from etlkit.api.outcomes import Counts, Recovered
    from etlkit.api.run import Run
    from etlkit.rows.columns import Column

log: logging.Logger = logging.getLogger("etlkit.bigquery")

_LINGER_S: Final = 1.0
"""How long a batch waits until it is full."""


class HttpWriter(StagedWriter[RunOwner]):
    """See `etlkit.api.sink.SinkWriter`. The API sees each row as soon as it is sent."""

    def __init__(
        self,
        sink: HttpOptions,
        job: JobOptions,
        run: Run,
        connection: Connection,
        details: Mapping[str, Any],
    ) -> None:
        self._sink = sink
        self._run = run
        self._connection = connection
        self.keeps_order: bool = bool(sink.order_columns)
        self.target: str = sink.target
        headers = Headers(sink.headers, run.settings.environ)
        check_tables(sink, connection, may_create=True)
        dataset = work_dataset(sink.work_dataset, connection.project)
        with errors_as(SinkError, "open", "recording the start of the run failed"):
            owner = RunOwner(
                connection, run, dataset, target=self.target, mode=MODE, details=details
            )
            owner.start(exclusive=not job.is_runnable_concurrently)
        fails = job.on_row_error == "fail"
        self._outbox = Outbox(connection, run, dataset, on_durable=self._told, fails=fails)
        super().__init__(self._outbox.staging, owner)
        calls = run.calls.part(sink.retry, as_rate_limit(sink.rate_limit))
        url = sink.url_template
        self._pool = HttpPool(url.origin, service=url.host, max_idle=sink.max_concurrency)
        self._sender = Sender(
            RequestFormat(
                sink.method,
                url,
                headers.values,
                sink.body,
                sink.idempotency_header,
                sink.idempotency_key,
            ),
            AnswerReader(
                sink.success,
                sink.errors_at,
                keeps=sink.responses is not None,
                hide=headers.hide,
            ),
            self._pool,
            calls.caller(url.host),
            run.run_id,
            owner.check,
        )
        self._requests = RequestQueue(
            self._sender.send,
            self._record,
            calls,
            max_concurrency=sink.max_concurrency,
            max_rows=max(MAX_WAITING_ROWS, 4 * sink.max_concurrency * sink.batch_size),
            keys_of=_keys_of(sink.order_columns),
            on_refused=self._note_refused,
            halts=fails,
        )
        self._decoder = RowDecoder(())
        self._pending: list[Item] = []
        self._pending_since = 0.0
        self._listens = self._has_said_waiting = False
        self._num_accepted = 0
        self._leftovers: Leftovers | None = None
        self._refused_lock = threading.Lock()
        self._refused: list[RefusedRow] = []
        self._refused_ids: set[str] = set()
        with errors_as(SinkError, "open", "opening the outbox of the run failed"):
            self._outbox.open()

    @property
    def known_columns(self) -> tuple[Column, ...]:
        """See `etlkit.api.sink.SinkWriter.known_columns`; an API has none of its own."""
        return self._outbox.columns

    def recover(self) -> Recovered:
        """See `etlkit.api.sink.SinkWriter.recover`. Begins to send what earlier attempts have left."""
        recovered = super().recover()
        if self._leftovers is None:
            self._leftovers = Leftovers()
            if self._run.attempt > 1:
                with errors_as(SinkError, "snapshot", "reading the outbox failed"):
                    self._leftovers = self._outbox.leftovers()
                self._send_leftovers(self._leftovers)
        return self._leftovers.correct(recovered)

    def _send_leftovers(self, left: Leftovers) -> None:
        self._sender.columns = self._outbox.columns
        self._refuse(left.refused)
        if left.bundles:
            num_rows = sum(map(len, left.bundles))
            log.info(
                "%d rows of earlier attempts have no answer: they are sent first, those that may "
                "have been on their way under the same keys",
                num_rows,
            )
        for items in left.bundles:
            self._requests.add(items, is_durable=True)

    def begin(self, columns: tuple[Column, ...]) -> None:
        """See `etlkit.api.sink.SinkWriter.begin`."""
        if columns:
            self._sink.check_columns(columns)
        self._owner.check()
        self._stage_pending()
        self._decoder = RowDecoder(columns)
        with errors_as(SinkError, "stage", "creating the staging table failed"):
            self._outbox.begin(columns)
        self._sender.columns = self._outbox.columns
        if not self._listens:  # not before: a stop before the first row ends the run at once
            self._listens = True
            self._run.on_stop(self._requests.ask_to_halt)

    def write(self, batch: pa.RecordBatch) -> None:
        """See `etlkit.api.sink.SinkWriter.write`."""
        self._requests.wait_for_room()
        ids, parts, of = (batch.column(name).to_pylist() for name in (ROW_ID, PART, PARTS))
        rows = self._decoder.decode(batch).rows
        if not self._pending:
            self._pending_since = time.monotonic()
        self._pending += [
            self._outbox.item(row_id, part, num_parts, row)
            for row_id, part, num_parts, row in zip(ids, parts, of, rows, strict=True)
            if num_parts
        ]
        with self._told_if_lost():
            self._outbox.skip([i for i, num_parts in zip(ids, of, strict=True) if not num_parts])
        size = self._sink.batch_size
        full = len(self._pending) // size * size
        self._stage(self._pending[:full])
        self._pending = self._pending[full:]
        self._stage_late()

    def _stage(self, items: list[Item]) -> None:
        """Stage items by request; each request is sent when its items are safe."""
        size = self._sink.batch_size
        bundles = [items[start : start + size] for start in range(0, len(items), size)]
        for bundle in bundles:
            self._requests.add(bundle, is_durable=False)
        with self._told_if_lost():
            self._outbox.stage(bundles)

    def _stage_pending(self) -> None:
        pending, self._pending = self._pending, []
        self._stage(pending)

    def _stage_late(self) -> None:
        if self._pending and time.monotonic() - self._pending_since > _LINGER_S:
            self._stage_pending()

    def _told(self, ids: list[tuple[str, int]]) -> None:
        self._requests.durable(ids)

    def _record(self, outcomes: Sequence[ItemOutcome]) -> None:
        self._outbox.record(outcomes)
        self._num_accepted += sum(each.error is None for each in outcomes)

    def _note_refused(self, outcomes: Sequence[ItemOutcome]) -> None:
        self._refuse(
            [
                RefusedRow(each.item.row_id, each.item.num_parts, str(each.error), each.error)
                for each in outcomes
            ]
        )

    def _refuse(self, rows: Sequence[RefusedRow]) -> None:
        """Keep refused rows for the engine: each once, although several parts may be refused."""
        with self._refused_lock:
            for row in rows:
                if row.num_parts > 1:
                    if row.row_id in self._refused_ids:
                        continue
                    self._refused_ids.add(row.row_id)
                self._refused.append(row)

    def refused(self) -> Sequence[RefusedRow]:
        """See `etlkit.api.sink.SinkWriter.refused`: what the API refused, or BigQuery before it."""
        self._stage_late()
        not_staged = super().refused()
        if not_staged:
            self._requests.drop(row.row_id for row in not_staged)
        with self._refused_lock:
            refused, self._refused = self._refused, []
        return [*not_staged, *refused]

    def flush(self) -> None:
        """See `etlkit.api.sink.SinkWriter.flush`."""
        self._stage_pending()
        super().flush()
        if (waiting := self._requests.num_waiting_rows) and not self._has_said_waiting:
            self._has_said_waiting = True
            log.info("all rows are transformed; %d of them wait for their requests", waiting)
        with self._told_if_lost():
            self._requests.wait(
                has_refused=self._has_refused,
                stop_timeout_s=STOP_TIMEOUT_S,
                check=self._owner.check,
            )

    def _has_refused(self) -> bool:
        return bool(self._refused) or self._staging.has_refused

    def is_ready(self) -> bool:
        """See `etlkit.api.sink.SinkWriter.is_ready`: also whether few enough rows wait to be sent."""
        is_ready = super().is_ready()
        self._requests.check()
        return is_ready and self._requests.has_room

    def commit(self, counts: Counts) -> int:
        """See `etlkit.api.sink.SinkWriter.commit`: the rows are sent; the run is recorded."""
        self.flush()
        self._close_requests()
        self._outbox.close()
        with (
            self._told_if_lost(),
            errors_as(SinkError, "audit", "the audit of the staged rows could not run"),
        ):
            self._audit(counts)
        with errors_as(SinkError, "publish", "recording the run failed"):
            self._owner.publish(self._statements(), counts)
        self._outbox.drop()
        self._owner.finish()
        return counts.parts

    def _audit(self, counts: Counts) -> None:
        compare_counts(self._staging, counts)
        accepted = self._outbox.count_accepted()
        if accepted != counts.parts:
            raise CountMismatchError(
                f"{counts.parts:,} rows were to be sent, and the API has accepted {accepted:,}; go on "
                "with --resume",
                read=counts.read,
                staged=counts.finished,
            )

    def _statements(self) -> list[str]:
        statements = []
        responses = responses_table(self._sink, self._connection)
        if responses is not None:
            self._connection.make_table(plain_table(responses, RESPONSE_COLUMNS))
            statements += self._outbox.responses(responses)
        name = parse_table(self._sink.name, self._connection.project)
        staged = self._staging.staged
        return statements + reject_statements(
            self._connection, self._run, staged, rejects_table(name)
        )

    def _close_requests(self) -> None:
        self._requests.close(STOP_TIMEOUT_S)
        self._pool.close()

    def abort(self, error: BaseException, /) -> None:
        """See `etlkit.api.sink.SinkWriter.abort`: requests in flight end, and are recorded."""
        try:
            if isinstance(error, RunTakenOverError):  # its tables may be gone: nothing is recorded
                self._outbox.close()
            self._close_requests()
            self._outbox.close()
        except Exception as second:  # the first error is the one to report
            log.warning("the requests could not be ended: %s", second)
        if self._num_accepted:
            log.warning(
                "%s has accepted %d rows in this attempt, which stay there; --resume sends the rest",
                self.target,
                self._num_accepted,
            )
        super().abort(error)


def _keys_of(
    columns: tuple[str, ...],
) -> Callable[[Iterable[Item]], frozenset[Hashable]] | None:
    """What gives the keys of items whose order counts; None = no order.

    Rows without a value have no key.
    """
    if not columns:
        return None

    def keys_of(items: Iterable[Item]) -> frozenset[Hashable]:
        keys = set()
        for item in items:
            values = json.loads(item.text)
            key = [values.get(name) for name in columns]
            if any(value is not None for value in key):
                keys.add(json.dumps(key, sort_keys=True))
        return frozenset(keys)

    return keys_of
