"""The job of a random transfer: its source, transform and sink, and threads that switch at any line."""

import asyncio
import sys
import threading
import time
from copy import deepcopy

import pyarrow as pa

from etlkit import EtlBase, RetryableError, RetryPolicy
from etlkit.api.sink import PART
from etlkit.api.source import ROW_ID
from etlkit.calls.run_calls import caller
from etlkit.errors import ReadExpiredError
from etlkit.testing import MemorySink, MemorySource
from etlkit.testing.memory import MemoryReader, MemoryWriter
from tests.race_case import SCHEMA, SOURCE, fails, late_key, skipped, source_row


class ExpiringReader(MemoryReader):
    """A reader whose first read session may end early."""

    def batches(self):
        case = self._source.case
        for number, batch in enumerate(super().batches()):
            if case.expires and number == 2:
                case.expires = False
                raise ReadExpiredError("the read session is over", stage="read")
            yield batch


class ExpiringSource(MemorySource):
    """The source of a case."""

    def __init__(self, case):
        rows, size = [source_row(n) for n in case.numbers], case.random.choice([13, 100, 1000])
        super().__init__(rows, SOURCE, batch_rows=size)
        self.case = case

    def open(self, job, run):
        return ExpiringReader(self, run, super().open(job, run).columns)


class RecordingWriter(MemoryWriter):
    """A writer that sees whether a row comes twice."""

    notify = None

    def on_durable(self, notify):
        self.notify = notify

    def write(self, batch):
        sink = self._sink
        sink.case.written()
        for key in zip(*(batch.column(name).to_pylist() for name in (ROW_ID, PART)), strict=True):
            sink.keys.append(key)
        super().write(batch)
        self.durable(batch.column(ROW_ID))

    def reject(self, rows):
        self._sink.rejected += [row.row_id for row in rows]
        super().reject(rows)
        self.durable(pa.array([row.row_id for row in rows]))

    def durable(self, row_ids):
        if self.notify is not None:
            self.notify(row_ids)

    def is_ready(self):
        return self._sink.case.random.random() < 0.95


class RecordingSink(MemorySink):
    """A sink that sees whether a row comes twice.

    Args:
        case: Says what it refuses, whether it keeps the order and when it breaks.
    """

    def __init__(self, case):
        super().__init__("replace", case.refused)
        self.case = case
        self.keys = []
        self.rejected = []

    def open(self, job, run, reader):
        made = super().open(job, run, reader)
        writer = RecordingWriter(self, run, made._staged)
        writer.keeps_order = self.case.keeps_order
        return writer


def etl_of(case):
    """The transform of a case."""
    attributes = {"max_concurrency": case.workers, "batch_size": case.random.choice([1, 7, 64])}
    if case.is_declared:
        without = {"extra"} if case.hook == "arrow" else set()
        attributes["output_schema"] = {n: t for n, t in SCHEMA.items() if n not in without}
    if case.passes:
        attributes["columns"] = ("n", "text", "tags")
    base = {
        "row": RowEtl,
        "batch": BatchEtl,
        "async": AsyncEtl,
        "async batch": AsyncBatchEtl,
        "arrow": ArrowEtl,
    }[case.hook]
    return type("Etl", (base,), {**attributes, "case": case})


class CaseEtl(EtlBase, abstract=True):
    """What all hooks have in common."""

    def before_action(self):
        self.kept = {}
        self.last = []
        self.told = caller("api", RetryPolicy(first_wait_s=0.001, max_wait_s=0.01))

    def result(self, row, kept):
        """What becomes of a row."""
        return self.case.kinds[row["n"]](row, kept)

    def returns(self, numbers, results):
        """Note of which rows the results are there."""
        there = (dict, list, tuple, type(None))
        rows = zip(numbers, results, strict=True)
        self.case.returned[-1] += [n for n, result in rows if isinstance(result, there)]

    def change(self, results):
        """Change what was returned the last time."""
        if self.case.changes_later:
            for each in self.last:
                each["n"] = -1
                each.get("tags", []).append("changed later")
                for label in each.get("labels") or ():
                    label["name"] = "changed later"
            self.last = [each for each in results if isinstance(each, dict)]


class RowEtl(CaseEtl):
    def transform_row(self, row):
        case, n = self.case, row["n"]
        case.called(n)
        self.change([])
        if n in case.slow_rows:
            time.sleep(0.002)
        if n in case.told_rows:
            times = iter(range(2))
            self.told.call(lambda _timeout_s: self.told_to_wait(next(times)))
        result = self.result(row, self.kept)
        self.change([result])
        self.returns([n], [result])
        return result

    def told_to_wait(self, times):
        if times < 1:
            raise RetryableError("come back", status=429, retry_after_s=0.001)


class BatchEtl(CaseEtl):
    def transform_batch(self, rows):
        self.change([])
        results, numbers = [], [row["n"] for row in rows]
        for row in rows:
            try:
                self.case.called(row["n"])
                results.append(self.result(row, {}))
            except ValueError as error:
                results.append(error)
        if self.case.slow_rows.intersection(numbers):
            time.sleep(0.002)
        self.change(results)
        self.returns(numbers, results)
        return results


class AsyncEtl(CaseEtl):
    async def transform_row(self, row):
        n = row["n"]
        self.case.called(n)
        if n in self.case.slow_rows:
            await asyncio.sleep(self.case.random.random() / 100)
        self.change([])
        result = self.result(row, self.kept)
        if not isinstance(result, (dict, list, tuple, type(None))):
            result = list(map(deepcopy, result))
        self.change([result])
        self.returns([n], [result])
        return result


class AsyncBatchEtl(CaseEtl):
    async def transform_batch(self, rows):
        if any(row["n"] in self.case.slow_rows for row in rows):
            await asyncio.sleep(self.case.random.random() / 100)
        return BatchEtl.transform_batch(self, rows)


class ArrowEtl(CaseEtl):
    def transform_arrow(self, batch):
        case, numbers = self.case, batch.column("n").to_pylist()
        kinds = [case.kinds[n] for n in numbers]
        for n in numbers:
            case.called(n)
        if fails in kinds:
            raise ValueError("no")
        keep = [kind is not skipped for kind in kinds]
        made = zip(batch.to_pylist(), kinds, strict=True)
        rows = [self.made(row, kind) for row, kind in made if kind is not skipped]
        late = {"late": pa.list_(pa.string())} if late_key in kinds else {}
        schema = pa.schema([*batch.schema, ("part", pa.int64()), *late.items()])
        if case.random.random() < 0.2:
            time.sleep(0.002)
        return pa.Table.from_pylist(rows, schema), keep

    def made(self, row, kind):
        return kind(row, {}) if kind is late_key else {**row, "part": row["n"]}


_PAUSES_S = (0, 0, 1e-5, 1e-4, 1e-3)


def traced(case, names):
    """A trace function that switches threads at any line of these files, perhaps."""
    share, chance, seams = case.switch_share, case.random.random, {}

    def at_line(frame, event, _):
        if chance() < share:
            time.sleep(_PAUSES_S[int(chance() * len(_PAUSES_S))])
        return at_line

    def at_call(frame, event, _):
        code = frame.f_code
        is_seam = seams.get(code)
        if is_seam is None:
            is_seam = seams[code] = code.co_filename.endswith(names)
        return at_line if is_seam else None

    return at_call


class Switching:
    """While it is open, threads give way to each other at any line of the row path."""

    def __init__(self, case, names):
        self.trace = traced(case, names)

    def __enter__(self):
        self.interval, self.before = sys.getswitchinterval(), sys.gettrace()
        sys.setswitchinterval(1e-6)
        threading.settrace(self.trace)
        sys.settrace(self.trace)

    def __exit__(self, *_):
        sys.settrace(self.before)
        threading.settrace(self.before)
        sys.setswitchinterval(self.interval)
