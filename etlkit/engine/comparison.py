"""Two sides of a comparison, row by row and column by column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice, zip_longest
from typing import TYPE_CHECKING, Any

from etlkit.api.diff_report import ColumnDiff, DiffReport, RowDiff, SideReport
from etlkit.engine.code_files import changes

if TYPE_CHECKING:
    from etlkit.api.source import Sampling
    from etlkit.engine.side import Side

MAX_EXAMPLES = 10


def compare(
    job_name: str,
    source_rows: Mapping[str, dict[str, Any]],
    old: Side,
    new: Side,
    *,
    versions: tuple[str, str],
    sampling: Sampling,
    currency: str,
    compares_files: bool = True,
) -> DiffReport:
    """Compare two sides.

    A column that a row lacks and one that is NULL are the same: the target makes no difference between
    them. Of two errors the classes count, and not the texts, which name rows and lines.

    Args:
        job_name: The job's name.
        source_rows: The sample by row id, as JSON values.
        old: By the old code.
        new: By the new code.
        versions: Where the code of the two is from.
        sampling: Of the rows.
        currency: Of all prices.
        compares_files: Whether the code of both is in files of the same names.
    """
    same = changed = 0
    moved, cells = Counter[str](), Counter[str]()
    found: dict[str, list[RowDiff]] = {}
    for number, (row_id, source) in enumerate(source_rows.items(), 1):
        one, other = old.rows[row_id], new.rows[row_id]
        differing = list(_differing(one.rows, other.rows))
        kind = f"{one.state} -> {other.state}"
        if one.state != other.state:
            moved[kind] += 1
        elif differing or len(one.rows) != len(other.rows):
            changed += 1
        else:
            same += 1
            continue
        if one.state == other.state:
            cells.update(differing)
        of_kind = found.setdefault(kind, [])
        if len(of_kind) < MAX_EXAMPLES:
            of_kind.append(RowDiff(number, source, one, other))
    return DiffReport(
        job=job_name,
        old=_side(versions[0], old),
        new=_side(versions[1], new),
        source_rows=sampling.num_source_rows,
        seed=sampling.seed,
        rows=len(source_rows),
        same=same,
        changed=changed,
        moved=dict(moved.most_common()),
        columns=list(_columns(old, new, cells)),
        changed_files=changes(old.code, new.code) if compares_files else None,
        examples=_examples(found.values()),
        currency=currency,
    )


def _examples(kinds: Iterable[Sequence[RowDiff]]) -> list[RowDiff]:
    """A few rows of each kind of difference, in the sample's order."""
    in_turn = chain.from_iterable(zip_longest(*kinds))
    return sorted(islice(filter(None, in_turn), MAX_EXAMPLES), key=lambda row: row.number)


def _differing(old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Names of columns in which the target rows of one source row differ, once for each of them."""
    for one, other in zip(old, new, strict=False):
        for name in dict.fromkeys([*one, *other]):
            if not is_same(one.get(name), other.get(name)):
                yield name


def is_same(one: Any, other: Any) -> bool:
    """Whether two values are equal and of one type: `1` is not `1.0`; NaN is NaN."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(is_same, one, other))
    is_nan = one != one and other != other  # noqa: PLR0124 - what only NaN is
    return type(one) is type(other) and (is_nan or bool(one == other))


def _columns(old: Side, new: Side, cells: Mapping[str, int]) -> Iterator[ColumnDiff]:
    for name in dict.fromkeys([*old.columns, *new.columns, *cells]):
        before, after = old.columns.get(name), new.columns.get(name)
        if before != after or cells.get(name):
            yield ColumnDiff(name, before, after, cells.get(name, 0))


def _side(version: str, side: Side) -> SideReport:
    states = Counter(row.state for row in side.rows.values())
    return SideReport(
        version,
        written=states["written"],
        skipped=states["skipped"],
        rejected=states["rejected"],
        error_classes=side.error_classes,
        known=side.known,
        calls=side.calls,
        replayed=side.replayed,
        units=side.units,
        cost=side.cost,
    )
