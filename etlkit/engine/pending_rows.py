"""Rows whose dicts are gone, and whose values are not encoded yet: the usual case of fast rows.

A transform mostly treats all rows alike: it leaves the same columns as they are and gives the same
new keys. Once a block of rows has shown which, the loop takes the new values out of each result at
once. Its dict is gone before the next row comes, so it is in the processor's cache all its life.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, compress, repeat
from typing import TYPE_CHECKING, Any

from etlkit.api.outcomes import SKIPPED, FullOutcome, Outcome, classify, classify_parts, rows_of
from etlkit.engine.chunk_outcomes import MADE, others
from etlkit.engine.made_rows import MadeRows, int_range, ints
from etlkit.rows.flat_lists import FlatLists
from etlkit.rows.row_code import OddPart, column_loop

if TYPE_CHECKING:
    from etlkit.api.outcomes import KnownKeys
    from etlkit.calls.worker import Worker
    from etlkit.engine.chunk import Part
    from etlkit.engine.output_schema import OutputSchema
    from etlkit.rows.row import Row
    from etlkit.rows.row_code import ColumnLoop

_LOOK_AGAIN_AFTER = 50
"""Blocks after which one waits as dicts, so that each column is looked at again: one that was changed
in a few rows once may be untouched since."""

_MAX_BACKOFF = 63
"""Blocks that wait as dicts after a row that did not fit, at most."""


@dataclass(frozen=True, slots=True)
class ColumnPlan:
    """Which columns results have from their source rows, and which are new.

    Attributes:
        schema: The output columns.
        names: The keys of the rows that the transform gets.
        same: Positions in `names` of the columns that stay as they are.
        made: The other columns of results, by position in the schema's encoder.
        is_fan_out: Whether rows become several results.
        loop: Runs such rows.
        freezes: Of those in `made` that hold values which the transform may change later, except for
            lists that are taken apart.
        flat: The fields of `FlatLists`, by position in `made`.
    """

    schema: OutputSchema
    names: tuple[str, ...]
    same: tuple[int, ...]
    made: dict[int, str]
    is_fan_out: bool
    loop: ColumnLoop
    freezes: tuple[Any, ...]
    flat: dict[int, tuple[str, ...]]

    @classmethod
    def learned(cls, schema: OutputSchema, part: Part, *, is_fan_out: bool) -> ColumnPlan:
        """The plan for rows like the last ones that the schema's encoder has looked at."""
        names, encoder = part.block.names, schema.encoder
        nested = schema.keys.nested or {}
        untouched = encoder.untouched
        places = [encoder.reusable_name(i, part.block) for i in untouched]
        same = tuple(place for place in places if place is not None)
        left = {i: name for i, name in enumerate(schema.made_names) if i not in set(untouched)}
        made = tuple(left.values())
        flat = {i: schema.flat[name] for i, name in enumerate(made) if name in schema.flat}
        frozen = tuple(i for i, name in enumerate(made) if name in nested and i not in flat)
        loop = column_loop(names, same, made, frozen, tuple(flat.items()), is_fan_out=is_fan_out)
        freezes = tuple(nested[made[i]] for i in frozen)
        return cls(schema, names, same, left, is_fan_out, loop, freezes, flat)

    def new_columns(self) -> list[Any]:
        """What takes the values of each column in `made`."""
        flat = self.flat
        return [FlatLists(flat[i]) if i in flat else [] for i in range(len(self.made))]


class ColumnPlans:
    """Which plan the next rows of a worker follow."""

    def __init__(self) -> None:
        self._plan: ColumnPlan | None = None
        self._num_without = 0
        self._backoff = 0
        self._until_next_look = 0

    def begin(self, schema: OutputSchema | None, part: Part, start: int) -> PendingRows | None:
        """For the rows of a part from the index `start` on; None = they have to wait as dicts."""
        plan = self._plan
        if self._num_without:
            self._num_without -= 1
            return None
        self._until_next_look -= 1
        if plan is None or self._until_next_look < 0:
            return None
        if schema is not plan.schema or part.block.names != plan.names:
            return None
        return PendingRows(plan, part, start)

    def learn(self, schema: OutputSchema, part: Part, outcomes: Sequence[Outcome]) -> None:
        """Make a plan out of rows that were encoded as dicts."""
        is_fan_out = any(type(each) is not dict and rows_of(each) for each in outcomes)
        self._plan = ColumnPlan.learned(schema, part, is_fan_out=is_fan_out)
        self._until_next_look = _LOOK_AGAIN_AFTER

    def fail(self) -> None:
        """Take note of a row that the plan does not fit: the next rows may be like that, too."""
        self._num_without = self._backoff
        self._backoff = min(_MAX_BACKOFF, 2 * self._backoff + 1)
        self._plan = None

    def succeed(self) -> None:
        """Take note of rows that the plan fitted."""
        self._backoff //= 2


class PendingRows(FullOutcome):
    """New values of consecutive rows of a part. It is the outcome of each row that became something.

    A row has its outcome when its values are there, so another thread may ask for `outcomes` meanwhile.

    Args:
        plan: What results are like.
        part: Where the rows come from.
        start: The index in the chunk of the first row.
    """

    __slots__ = ("_columns", "_counts", "_part", "_plan", "_start")

    def __init__(self, plan: ColumnPlan, part: Part, start: int) -> None:
        self.error = None
        self._plan = plan
        self._part = part
        self._start = start
        self._columns: list[Any] = plan.new_columns()
        self._counts: list[int] = []

    @property
    def rows(self) -> tuple[Row, ...]:  # type: ignore[override]
        """Nobody may take it for a skipped row."""
        raise AssertionError("ask Task.outcomes_between: the rows are not in their outcome")

    def run(
        self,
        values: Iterator[Any],
        transform: Any,
        outcomes: list[Outcome],
        clock: Any,
        until: float,
        worker: Worker,
    ) -> Any:
        """Run rows; see `column_loop`."""
        given = values, transform, outcomes, self, self._columns, self._counts, SKIPPED
        return self._plan.loop(*given, self._plan.freezes, clock, until, worker)

    @property
    def is_fan_out(self) -> bool:
        """Whether rows become several results."""
        return self._plan.is_fan_out

    @property
    def num_more(self) -> int:
        """How many target rows there are beyond one per source row."""
        return max(0, sum(self._counts) - len(self._counts))

    def classify(self, result: Any, keys: KnownKeys) -> Outcome:
        """The outcome of a row with which the loop ended; see `classify`."""
        if type(result) is not OddPart:
            return classify(result, keys)
        before = sum(self._counts)
        rows = self._rows(self._next_index(), before, before + result.num_before)
        return classify_parts(chain(rows, (result.part,), result.rest), result.kind, keys)

    def add_nothing(self, index: int) -> None:
        """Take note of a row that became nothing, outside of the loop.

        Args:
            index: Its index in the chunk.
        """
        num_before = sum(self._counts) if self._plan.is_fan_out else index - self._start
        for column in self._columns:
            del column[num_before:]  # values of results before an error
            if not self._plan.is_fan_out:
                column.append(None)
        if self._plan.is_fan_out:
            self._counts.append(0)

    def outcomes(self, found: Sequence[Outcome], start: int) -> list[Outcome]:
        """Outcomes with the rows themselves; `start` is the index in the chunk of the first one."""
        at = start - self._start
        if not self._plan.is_fan_out:
            rows = self._rows(start, at, at + len(found))
            pairs = zip(found, rows, strict=True)
            return [row if each is self else each for each, row in pairs]
        made, first = list[Outcome](), sum(self._counts[:at])
        for index, each in enumerate(found, at):
            num = self._counts[index] if each is self else 0
            rows = self._rows(self._start + index, first, first + num)
            made.append(FullOutcome(tuple(rows)) if each is self else each)
            first += num
        return made

    def made_rows(self, found: Sequence[Outcome], start: int, gaps: list[int]) -> MadeRows:
        """Encode the rows of these outcomes.

        Args:
            found: The outcomes.
            start: The index in the chunk of the first one.
            gaps: As `gaps` gives them.

        Raises:
            RowSchemaError: A row does not fit the columns.
        """
        plan, part, at = self._plan, self._part, start - self._start
        indices: Sequence[int] = range(start, start + len(found))
        columns = self._columns
        counts = None
        if plan.is_fan_out:
            counts, first = self._counts[at:], sum(self._counts[:at])
            columns = [column[first:] for column in columns] if first else columns
            indices = ints(map(repeat, indices, counts))
        else:
            columns = [column[at : at + len(found)] for column in columns]
            if gaps:
                columns = [_without(column, gaps) for column in columns]
                indices = _without(int_range(start, start + len(found)), gaps)
        is_whole = indices == range(part.first, part.first + part.block.batch.num_rows)
        positions = None
        if not is_whole and plan.schema.encoder.looks_at_untouched:
            positions = [index - part.first for index in indices]
        arrays = plan.schema.encoder.encode_columns(
            dict(zip(plan.made, columns, strict=True)), part.block, positions
        )
        for wrong in plan.schema.passing_errors(part.chunk, indices).values():
            raise wrong
        return MadeRows(plan.schema, indices, _parts(counts), arrays)

    @staticmethod
    def marked(found: Sequence[Outcome], gaps: list[int]) -> list[Outcome]:
        """The outcomes with `MADE` for each that has target rows, which are all but the gaps."""
        marked: list[Outcome] = [MADE] * len(found)
        for at in gaps:
            marked[at] = found[at]
        return marked

    def gaps(self, found: Sequence[Outcome]) -> list[int]:
        """Positions of rows that became nothing: mostly there are few."""
        return others(found, self)

    def _next_index(self) -> int:
        return self._start + len(self._counts)

    def _rows(self, index: int, first: int, stop: int) -> list[Row]:
        """Results as they were: consecutive values, of one row each from `index` on, or all of one."""
        plan, block = self._plan, self._part.block
        at = index - self._part.first
        made = list(plan.made.values())
        rows: list[Row] = []
        columns = [column[first:stop] for column in self._columns]
        for values in zip(*columns, strict=True) if columns else repeat((), stop - first):
            row = {plan.names[i]: block.values[i][at] for i in plan.same}
            row.update(zip(made, values, strict=True))
            rows.append(row)
            at += not plan.is_fan_out
        return rows


def resolved(outcomes: list[Outcome], start: int) -> list[Outcome]:
    """Outcomes with the rows themselves in the place of `PendingRows`.

    Args:
        outcomes: Of consecutive rows of a chunk.
        start: The index in the chunk of the first one.
    """
    found = dict.fromkeys(each for each in outcomes if type(each) is PendingRows)
    for pending in found:
        first = outcomes.index(pending)
        stop = len(outcomes) - outcomes[::-1].index(pending)
        outcomes = [
            *outcomes[:first],
            *pending.outcomes(outcomes[first:stop], start + first),
            *outcomes[stop:],
        ]
    return outcomes


_FEW = 16
"""One in this many values is taken out of its list faster than all others are put into another."""


def _without(values: Any, gaps: list[int]) -> Any:
    """A list or array, which nobody else has, without the values at some positions; these ascend."""
    if isinstance(values, FlatLists):
        return values.without(gaps)
    if len(gaps) * _FEW > len(values):
        is_left = bytearray(b"\1") * len(values)
        for at in gaps:
            is_left[at] = 0
        left = compress(values, is_left)
        return array("q", left) if isinstance(values, array) else list(left)
    for at in reversed(gaps):
        del values[at]
    return values


def _parts(counts: list[int] | None) -> Any:
    """Part and number of parts of each target row, by the number of each source row."""
    if counts is None or counts.count(1) == len(counts):
        return None
    if (num := counts[0]) and counts.count(num) == len(counts):
        return array("q", range(num)) * len(counts), array("q", [num]) * (num * len(counts))
    return ints(map(range, counts)), ints(map(repeat, counts, counts))
