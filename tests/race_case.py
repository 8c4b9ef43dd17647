"""Random transfers for the tests of races: which rows, and what a plain loop makes of them."""

import signal
from collections import OrderedDict
from copy import deepcopy
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from types import MappingProxyType

from etlkit import JobError, SinkError

SCHEMA = MappingProxyType(
    {
        "n": "INT64",
        "text": "STRING",
        "price": "NUMERIC",
        "tags": "ARRAY<STRING>",
        "part": "INT64",
        "extra": "JSON",
        "late": "ARRAY<STRING>",
        "never": "STRING",
        "labels": "ARRAY<STRUCT<name STRING, score FLOAT64>>",
    }
)
SOURCE = MappingProxyType({name: SCHEMA[name] for name in ("n", "text", "price", "tags", "labels")})
ARRAYS = {"tags", "late", "labels"}


def source_row(n):
    labels = [{"name": f"l{n}", "score": k / 7} for k in range(n % 3)]
    return {"n": n, "text": f"row {n}", "price": Decimal(n), "tags": [f"t{n}"], "labels": labels}


def new_dict(row, kept):
    return {**row, "part": row["n"], "extra": {"n": [row["n"]]}}


def in_place(row, kept):
    row["part"], row["extra"] = 1, {"n": row["n"]}
    row["tags"].append("more")
    if "labels" in row:
        row["labels"].append({"name": "last", "score": row["n"] / 3})
    return row


def other_objects(row, kept):
    """Equal to what came in, and not the same objects."""
    return {**new_dict(row, kept), "text": "".join(list(row["text"])), "n": int(str(row["n"]))}


def other_values(row, kept):
    return {**new_dict(row, kept), "text": f"another {row['n']}", "price": row["price"] + 1}


def with_null(row, kept):
    """With a key that never has a value."""
    return {**new_dict(row, kept), "never": None}


def other_labels(row, kept):
    """One dict in all of them, which lacks a field now and then; or none."""
    label = kept.setdefault("label", {})
    label.clear()
    label.update({"score": row["n"] / 5} if row["n"] % 2 else {"name": f"of {row['n']}"})
    labels = [[label, {"name": "x", "score": 1.0}], (label,), None][row["n"] % 3]
    return {**new_dict(row, kept), "labels": labels} if "labels" in row else new_dict(row, kept)


def fewer_keys(row, kept):
    return {"n": row["n"], "part": 2}


def one_dict(row, kept):
    shared = kept.setdefault("dict", {})
    shared.update(new_dict(row, kept))
    return shared


def one_list(row, kept):
    shared, more = kept.setdefault("list", []), kept.setdefault("extra", OrderedDict())
    shared[:], more["n"] = [f"of {row['n']}"], row["n"]
    return {**row, "tags": shared, "part": 3, "extra": more}


def late_key(row, kept):
    """As many keys as others, but not the same ones."""
    shared = kept.setdefault("late", [])
    shared[:] = [f"late {row['n']}"]
    return {"n": row["n"], "part": 4, "late": shared}


def skipped(row, kept):
    return None


def fails(row, kept):
    raise ValueError("no")


def wrong_value(row, kept):
    return {**new_dict(row, kept), "n": "no number"}


def several(row, kept):
    return [{**row, "part": part, "extra": {"part": part}} for part in range(3)]


def none_of_several(row, kept):
    return ()


def one_dict_several_times(row, kept):
    row["extra"] = {}
    for part in range(4):
        row["part"] = row["extra"]["part"] = part
        yield row


def many(row, kept):
    for part in range(40):
        yield {**row, "text": f"row {row['n']} " * 20, "part": part, "extra": {"part": part}}


def fails_after_two(row, kept):
    yield from several(row, kept)[:2]
    raise ValueError("the third")


def several_kinds(row, kept):
    yield new_dict(row, kept)
    yield late_key(row, kept)
    yield fewer_keys(row, kept)


USUAL = (
    *(new_dict, in_place, other_values, one_list, other_labels),
    *(with_null, several, one_dict_several_times),
)
GOOD = (
    *USUAL,
    other_objects,
    fewer_keys,
    one_dict,
    skipped,
    none_of_several,
    many,
    several_kinds,
)
BAD = (fails, wrong_value, fails_after_two)


def as_written(row):
    """A row with all columns, as a reader of the target gets it."""
    blank = {name: [] if name in ARRAYS else None for name in SCHEMA}
    there = {name: value for name, value in row.items() if value is not None}
    if "labels" in there:
        there["labels"] = [{"name": None, "score": None, **each} for each in there["labels"]]
    return {**blank, **there}


@dataclass
class Case:
    """One random transfer.

    Attributes:
        seed: What all of it comes from.
        random: Makes the choices that are left to the run, such as when another thread has its turn.
        calls: The numbers of the rows that the transform was given, attempt by attempt.
        returned: Likewise of those it has returned from.
    """

    seed: int
    stops: bool = False
    random: object = field(init=False)
    calls: list = field(default_factory=list)
    returned: list = field(default_factory=list)
    run: object = None

    def __post_init__(self):
        self.random = chosen = Random(self.seed)  # noqa: S311 - the same ones again
        pick = chosen.choice
        self.hook = pick(["row", "row", "row", "batch", "async", "async batch", "arrow"])
        self.workers = pick([1, 3, 3, 8])
        self.num_rows = pick([40, 150, 400])
        self.keeps_order = pick([True, False])
        self.is_declared = pick([True, False])
        self.on_row_error = pick(["reject", "skip"])
        self.changes_later = pick([True, False])
        self.expires = pick([True, False, False])
        self.passes = self.hook != "arrow" and pick([True, False, False])
        self.waits = self.workers > 1 and self.hook == "row" and pick([True, False])
        self.slow = pick([0, 0, 0.02])
        self.refuses = pick([True, False])
        self.stop = pick(["signal", "error", "sink", "row"]) if self.stops else None
        self.stop_at = chosen.randrange(self.num_rows)
        if self.stop == "row":
            self.on_row_error = "fail"
        others = (*GOOD, *BAD) if self.on_row_error != "fail" else GOOD
        usual, share = pick(USUAL), pick([0, 0.003, 0.03, 0.5])
        if self.hook == "arrow":
            bad = () if self.on_row_error == "fail" else (fails,)
            usual, others = new_dict, (new_dict, skipped, late_key, *bad)
        if self.passes:  # these kinds read the column
            others = [kind for kind in others if kind is not other_values]
            usual = new_dict if usual is other_values else usual
        late_from = self.num_rows // 2 if self.is_declared or pick([True, False]) else self.num_rows
        self.kinds = [pick(others) if chosen.random() < share else usual for _ in self.numbers]
        for n in range(late_from, self.num_rows):
            if chosen.random() < share and self.kinds[n] in GOOD:
                self.kinds[n] = late_key
        self.slow_rows = {n for n in self.numbers if chosen.random() < self.slow}
        self.told_rows = {n for n in self.numbers if self.waits and chosen.random() < 0.02}
        self.switch_share = pick([0.001, 0.01, 0.05])
        self.num_writes = 0

    @property
    def numbers(self):
        return range(self.num_rows)

    def refused(self, row):
        """Why the sink cannot store a row."""
        can = self.refuses and self.on_row_error != "fail" and row.get("n") is not None
        is_bad = can and row["n"] % 37 == 5
        return "of no use" if is_bad else None

    def expected(self, n):
        """What becomes of a row: the rows that are written, or None = it fails."""
        kind, row = self.kinds[n], source_row(n)
        passing = {name: row.pop(name) for name in ("price", "labels")} if self.passes else {}
        try:
            result = kind(row, {})
            if result is None:
                return []
            parts = [result] if isinstance(result, dict) else result
            rows = [as_written(deepcopy(dict(part) | passing)) for part in parts]
        except ValueError:
            return None
        if any(type(each["n"]) is not int or self.refused(each) for each in rows):
            return None
        if self.hook == "arrow":
            for each in rows:
                each["extra"] = None
        return rows

    def begin(self, run):
        """An attempt begins."""
        self.run = run
        self.calls.append([])
        self.returned.append([])

    def constants(self):
        """Limits of the row path, so that all its paths are met in few rows: (module, name, value)."""
        pick = self.random.choice
        engine = "etlkit.engine."
        sample = pick([1, 20, 1000])
        small = [
            ("row_loop", "_MAX_UNMADE", [10, 50, 2000]),
            ("row_loop", "_MAX_MADE_BYTES", [1, 5000, 2**23]),
            ("row_loop", "_MIN_MADE", [1, 2, 10]),
            ("row_loop", "SAMPLE_ROWS", [sample]),
            ("batch_writer", "SAMPLE_ROWS", [sample]),
            ("batch_writer", "_ENCODE_ROWS", [1, 100, 5000]),
            ("batch_writer", "_WRITE_BYTES", [1, 5000, 2**22]),
            ("batch_writer", "_LARGE_BYTES", [1, 5000, 2**20]),
            ("batch_writer", "FLUSH_INTERVAL_S", [0, 0.005, 0.25]),
            ("chunk", "_BLOCK_CELLS", [1, 120]),
            ("chunk", "_MIN_BLOCK_ROWS", [7, 30, 100]),
            ("transform_spec", "_CHUNK_ROWS", [50, 333]),
            ("transform_spec", "_SHARED_CHUNK_ROWS", [40, 128, 512]),
            ("prefetch", "_ENOUGH_ROWS", [1, 50, 500]),
            ("task", "_ENCODES_WITHIN_S", [0, 0.001, 0.05, 10]),
            ("pace", "_STEPS", [1, 1, 16]),
            ("pace", "_FAST_S", [1, 0.0005]),
            ("pending_rows", "_LOOK_AGAIN_AFTER", [1, 3, 50]),
            ("pending_rows", "_MAX_BACKOFF", [0, 0, 63]),
            ("task_window", "_SAMPLED", [1, 64]),
            ("task_window", "MAX_HELD_ROWS", [10, 20_000]),
            ("pipeline", "_MAX_HELD_UP_S", [0, 0.01, 0.5]),
            ("pipeline", "_POLL_INTERVAL_S", [0.0005, 0.01, 0.1]),
            ("recent_rows", "MAX_BYTES", [1, 2000, 2**25]),
            ("row_errors", "_MAX_UNREAD", [1, 5, 1000]),
            ("clock_marks", "_FAST_ROWS", [1, 50]),
            ("workers", "READY_POLL_S", [0.0005]),
            ("async_workers", "READY_POLL_S", [0.0005]),
            ("worker_group", "_SCHEMA_WAIT_S", [0.01, 0.25]),
        ]
        return [(engine + module, name, pick(values)) for module, name, values in small]

    def called(self, n):
        """A row comes to the transform; it may be the one at which the run stops."""
        attempt = len(self.calls)
        self.calls[-1].append(n)
        if attempt > 1 or n != self.stop_at:
            return
        if self.stop == "signal":
            self.run.request_stop(signal.SIGINT)
        elif self.stop == "error":
            raise JobError("over")
        elif self.stop == "row":
            raise ValueError("this time")

    def written(self):
        """A batch comes to the sink."""
        self.num_writes += 1
        if self.stop == "sink" and len(self.calls) == 1 and self.num_writes > self.stop_at % 5:
            raise SinkError("no", stage="stage")
