"""Rows for the benches of the row path: sources, sinks, transforms, the naive loop's functions."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from types import MappingProxyType

import pyarrow as pa
import pyarrow.compute as pc

from etlkit import EtlBase
from etlkit.api.outcomes import Recovered
from etlkit.api.sink import PARTS, Outlook
from etlkit.api.source import ROW_ID
from etlkit.rows.columns import arrow_schema, parse_schema

NUM_ROWS = 200_000
BATCH_ROWS = 8_192
SIX = {
    "uri": "STRING",
    "generation": "INT64",
    "content_type": "STRING",
    "size": "INT64",
    "md5_hash": "STRING",
    "updated": "TIMESTAMP",
}


class ArrowSource:
    """Rows that are in Arrow already.

    Args:
        schema: Columns, as in `EtlBase.output_schema`.
        make: Gives the batches, without ids.
    """

    fingerprint = "bench"
    num_bytes = None
    details = MappingProxyType({})

    def __init__(self, schema, make):
        self.columns = parse_schema(schema)
        self._make = make
        self.num_rows = None

    def expand(self, values):
        return self, frozenset()

    def open(self, job, run):
        return self

    def freeze(self, recovered=None):
        return

    def batches(self):
        names = [ROW_ID, *(column.name for column in self.columns)]
        first = 0
        for batch in self._make():
            ids = pa.array([f"{n:036d}" for n in range(first, first + batch.num_rows)])
            first += batch.num_rows
            yield pa.RecordBatch.from_arrays([ids, *batch.columns], names)

    def fetch(self, row_ids):
        raise AssertionError("the sink refuses no row")

    def close(self, *, succeeded):
        return


class ReadySource(ArrowSource):
    """All batches made before the run, so that the run does not pay for them."""

    def __init__(self, schema, make):
        super().__init__(schema, make)
        self._ready = list(super().batches())
        self.num_rows = sum(batch.num_rows for batch in self._ready)

    def batches(self):
        return iter(self._ready)


class CountingSink:
    """Takes everything and keeps nothing. `max_bytes` is that of the largest write."""

    keeps_order = False
    known_columns = ()
    target = "(bench)"

    def __init__(self):
        self.rows = self.writes = self.max_bytes = self.rejects = 0

    def expand(self, values):
        return self, frozenset()

    def check(self, job, run, reader, columns):
        return Outlook("(bench)")

    def open(self, job, run, reader):
        return self

    def recover(self):
        return Recovered()

    def begin(self, columns):
        return

    def write(self, batch):
        self.writes += 1
        self.max_bytes = max(self.max_bytes, batch.nbytes)
        self.rows += rows_in(batch.column(PARTS))

    def reject(self, rows):
        self.rejects += len(rows)

    def refused(self):
        return ()

    def flush(self):
        return

    def is_ready(self):
        return True

    def commit(self, counts):
        return counts.parts

    def abort(self, error):
        return


class LateSink(CountingSink):
    """Counts when the run is over: to count is not what the engine does."""

    def __init__(self):
        super().__init__()
        self._parts = []

    def write(self, batch):
        self._parts.append(batch.column(PARTS))

    def count(self):
        return sum(map(rows_in, self._parts))


def rows_in(parts):
    """Target rows among staged ones; a skipped row has 0 parts."""
    return pc.sum(pc.not_equal(parts, 0)).as_py()


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        key: As in `Figure`.
        title: As in `Figure`.
        goal: Times as fast as the naive loop.
        schema: The source's columns.
        columns: The source's arrays, of `num_rows` values.
        etl: The transform.
        naive: One row in, a list of rows out, for the naive loop.
        new: Columns that the naive loop adds.
        num_rows: Rows of the source.
        target_rows: Rows that are written.
        on_row_error: As in `TransferJob`.
        hand: The function of the loop by hand; None = the transform's own.
        is_fan_out: Whether it gives an iterator of rows.
    """

    key: str
    title: str
    goal: float | None
    schema: dict[str, str]
    columns: Callable[[int], list[pa.Array]]
    etl: type[EtlBase]
    naive: Callable[[dict], list[dict]]
    new: dict[str, str]
    num_rows: int = NUM_ROWS
    target_rows: int | None = None
    on_row_error: str = "fail"
    hand: Callable[[dict], dict] | None = None
    is_fan_out: bool = False


EPOCH_US = 1_700_000_000_000_000


def six_columns(num_rows):
    """Rows of an object table."""
    numbers = range(num_rows)
    return [
        pa.array([f"gs://bucket/photos/{n:08d}.jpg" for n in numbers]),
        pa.array([1_700_000_000_000_000 + n for n in numbers], pa.int64()),
        pa.array(["image/jpeg"] * num_rows),
        pa.array([100_000 + n * 7 % 1_000_000 for n in numbers], pa.int64()),
        pa.array([hashlib.sha256(b"%d" % n).hexdigest()[:32] for n in numbers]),
        pa.array([EPOCH_US + n * 1_000_001 for n in numbers]).view(pa.timestamp("us", "UTC")),
    ]


class Shout(EtlBase):
    def transform_row(self, row):
        row["response"] = row["uri"] + "!"
        return row


class ShoutElsewhere(EtlBase):
    """The row goes to a function, which may read any of its columns."""

    def transform_row(self, row):
        return shout_in_place(row)


def shout_in_place(row):
    row["response"] = row["uri"] + "!"
    return row


class ShoutOne(Shout):
    columns = ("uri",)


class ShoutSideBySide(Shout):
    max_concurrency = 8


class ShoutNew(EtlBase):
    """A new dict, as many write it."""

    def transform_row(self, row):
        return {**row, "response": row["uri"] + "!"}


def change(row):
    row["uri"] = row["uri"] + "!"
    row["generation"] = row["generation"] + 1
    row["content_type"] = row["content_type"] + "2"
    row["size"] = row["size"] * 2
    row["md5_hash"] = row["md5_hash"] + "0"
    row["updated"] = row["updated"] + SECOND
    row["response"] = row["uri"]
    return row


SECOND = timedelta(seconds=1)


class ChangeAll(EtlBase):
    def transform_row(self, row):
        return change(row)


def three(row):
    for part in range(3):
        yield {**row, "part": part}


class Three(EtlBase):
    def transform_row(self, row):
        return three(row)


def is_hundredth(row):
    return row["generation"] % 100 == 0


class SkipSome(EtlBase):
    def transform_row(self, row):
        if row["generation"] % 100 == 0:
            return None
        row["response"] = row["uri"] + "!"
        return row


class RejectSome(EtlBase):
    def transform_row(self, row):
        if row["generation"] % 100 == 0:
            raise ValueError("no picture")
        row["response"] = row["uri"] + "!"
        return row


class RejectSame(EtlBase):
    """The same exception object again and again, as one kept in a constant."""

    error = ValueError("no picture")

    def transform_row(self, row):
        if row["generation"] % 100 == 0:
            raise self.error
        row["response"] = row["uri"] + "!"
        return row


def shout(row):
    row["response"] = row["uri"] + "!"
    return [row]


def shout_or_leave_out(row):
    return [] if is_hundredth(row) else shout(row)


def shout_or_raise(row):
    if is_hundredth(row):
        raise ValueError("no picture")
    return shout(row)


NESTED = {"uri": "STRING", "size": "INT64", "labels": "ARRAY<STRUCT<name STRING, score FLOAT64>>"}


def nested_columns(num_rows):
    labels = [
        [{"name": f"label{k}", "score": (n + k) % 97 / 97} for k in range(n % 4)]
        for n in range(num_rows)
    ]
    kind = arrow_schema(parse_schema(NESTED)).field("labels").type
    return [*six_columns(num_rows)[:1], six_columns(num_rows)[3], pa.array(labels, kind)]


class Best(EtlBase):
    """Changes a list of dicts, and adds a value from it."""

    def transform_row(self, row):
        return best(row)


def best(row):
    labels = row["labels"]
    labels.append({"name": "last", "score": 0.5})
    row["best"] = labels[0]["name"]
    return row


def answer(row):
    return {
        "label": "cat",
        "score": row["size"] / 7,
        "box": [row["size"], 2, 3, 4],
        "name": row["md5_hash"],
    }


class Answer(EtlBase):
    """A JSON column, as answers of services are kept."""

    output_schema = MappingProxyType({**SIX, "response": "JSON"})

    def transform_row(self, row):
        row["response"] = answer(row)
        return row


def with_answer_text(row):
    row["response"] = json.dumps(answer(row))
    return row


PRICES = {"uri": "STRING", "size": "INT64", "price": "NUMERIC"}
TAX = Decimal("1.10")


def price_columns(num_rows):
    prices = [Decimal(n * 37 % 100_000) / 100 for n in range(num_rows)]
    six = six_columns(num_rows)
    return [six[0], six[3], pa.array(prices, pa.decimal128(38, 9))]


def taxed(row):
    row["total"] = row["price"] * TAX
    return row


class Taxed(EtlBase):
    output_schema = MappingProxyType({**PRICES, "total": "NUMERIC"})

    def transform_row(self, row):
        return taxed(row)


HUNDRED = {f"c{i:02d}": ("INT64", "STRING", "FLOAT64", "BOOL")[i % 4] for i in range(100)}


def hundred_columns(num_rows):
    kinds = [
        pa.array(range(num_rows), pa.int64()),
        pa.array([f"text {n}" for n in range(num_rows)]),
        pa.array([n / 7 for n in range(num_rows)], pa.float64()),
        pa.array([n % 3 == 0 for n in range(num_rows)]),
    ]
    return [kinds[i % 4] for i in range(100)]


class Hundred(EtlBase):
    def transform_row(self, row):
        row["response"] = row["c01"] + "!"
        return row


def hundred(row):
    row["response"] = row["c01"] + "!"
    return [row]


TEXT = {"response": "STRING"}
SIX_ROWS = (SIX, six_columns)
HUNDREDTH = NUM_ROWS - NUM_ROWS // 100

CASES = [
    Case("rows.six_columns", "rows through transform_row", 5, *SIX_ROWS, Shout, shout, TEXT),
    Case(
        "rows.given_on",
        "… the row given to a function",
        None,
        *SIX_ROWS,
        ShoutElsewhere,
        shout,
        TEXT,
    ),
    Case("rows.new_dict", "… a new dict returned", None, *SIX_ROWS, ShoutNew, shout, TEXT),
    Case("rows.declared", "… with columns declared", 12, *SIX_ROWS, ShoutOne, shout, TEXT),
    Case(
        "rows.all_changed",
        "all columns changed",
        2.8,
        *SIX_ROWS,
        ChangeAll,
        lambda row: [change(row)],
        TEXT,
    ),
    Case(
        "rows.fan_out",
        "fan-out 1 → 3 (yield)",
        2,
        *SIX_ROWS,
        Three,
        three,
        {"part": "INT64"},
        100_000,
        300_000,
        is_fan_out=True,
    ),
    Case(
        "rows.nested",
        "ARRAY of STRUCT, changed in place",
        1.5,
        NESTED,
        nested_columns,
        Best,
        lambda row: [best(row)],
        {"best": "STRING"},
        100_000,
    ),
    Case(
        "rows.json",
        "a JSON column added",
        1.5,
        *SIX_ROWS,
        Answer,
        lambda row: [with_answer_text(row)],
        TEXT,
        hand=with_answer_text,
    ),
    Case(
        "rows.numeric",
        "NUMERIC read and added",
        1.5,
        PRICES,
        price_columns,
        Taxed,
        lambda row: [taxed(row)],
        {"total": "NUMERIC"},
    ),
    Case(
        "rows.side_by_side",
        "max_concurrency=8 without calls",
        2,
        *SIX_ROWS,
        ShoutSideBySide,
        shout,
        TEXT,
    ),
    Case(
        "rows.skipped",
        "1 row in 100 skipped",
        4,
        *SIX_ROWS,
        SkipSome,
        shout_or_leave_out,
        TEXT,
        target_rows=HUNDREDTH,
    ),
    Case(
        "rows.rejected",
        "1 row in 100 rejected",
        3,
        *SIX_ROWS,
        RejectSome,
        shout_or_raise,
        TEXT,
        NUM_ROWS,
        HUNDREDTH,
        "reject",
    ),
    Case(
        "rows.rejected_same",
        "… by one exception object",
        3,
        *SIX_ROWS,
        RejectSame,
        shout_or_raise,
        TEXT,
        NUM_ROWS,
        HUNDREDTH,
        "reject",
        RejectSome().transform_row,
    ),
    Case(
        "rows.hundred_columns",
        "100 columns, one added",
        3,
        HUNDRED,
        hundred_columns,
        Hundred,
        hundred,
        TEXT,
        20_000,
    ),
]


def batches_of(case):
    """The source's rows in batches, without ids."""
    batch = pa.RecordBatch.from_arrays(
        case.columns(case.num_rows), schema=arrow_schema(parse_schema(case.schema))
    )
    return [batch.slice(start, BATCH_ROWS) for start in range(0, batch.num_rows, BATCH_ROWS)]
