"""What models say about pictures, read from rows: answers, boxes, and how far the models agree."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Final, TypeAlias

from etlkit.bigquery.result_rows import ResultRows
from etlkit.cli.pages.results_columns import Meanings, Nested
from etlkit.cli.pages.vision_json import read_annotations
from etlkit.cli.sql_output import to_text
from etlkit.cli.tables import printable

Box: TypeAlias = tuple[float, float, float, float]
"""Left, top, right, bottom: fractions of width and height (0 to 1), or pixels."""

MAX_RANK: Final = 5
MIN_SCORE: Final = 0.01
"""Which labels count when models are compared: the best ones, and none that is a mere guess."""

MAX_ANSWERS: Final = 50
"""Answers of one model about one picture that are kept, the best ones."""

_NUMBER: Final = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_PIXELS: Final = 1.5
"""A box with a number above this is in pixels: a fraction may be a little more than 1."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One thing that a model says.

    Attributes:
        model: Who says it.
        label: What it says.
        score: How sure it is; None = it does not say.
        rank: Its place among the model's answers, 1 = best; None = not known.
        box: Where it is; None = it is about the whole picture.
    """

    model: str
    label: str
    score: float | None = None
    rank: int | None = None
    box: Box | None = None

    @property
    def order(self) -> tuple[float, float]:
        """Sorts the best answer first."""
        rank = math.inf if self.rank is None else self.rank
        return rank, -math.inf if self.score is None else -self.score


@dataclass(slots=True)
class Picture:
    """One picture and what is said about it.

    Attributes:
        address: As in the table.
        answers: By model, the best one first.
        agreement: The share of pairs of models that agree, 0 to 1; None = fewer than two answered.
        pairs: Pairs of models, in order of their names -> whether they agree.
        num_left_out: Answers beyond `MAX_ANSWERS`.
    """

    address: str
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    agreement: float | None = None
    pairs: dict[tuple[str, str], bool] = field(default_factory=dict)
    num_left_out: int = 0


@dataclass(frozen=True)
class Pictures:
    """All pictures of a result.

    Attributes:
        pictures: In the order of the rows.
        models: In the order in which they come up.
        num_without_address: Rows whose address is NULL or empty.
    """

    pictures: Sequence[Picture]
    models: Sequence[str]
    num_without_address: int = 0

    @property
    def answers(self) -> Iterator[Answer]:
        """Every answer."""
        for picture in self.pictures:
            for answers in picture.answers.values():
                yield from answers

    @property
    def agreement(self) -> dict[tuple[str, str], tuple[int, int]]:
        """Pair of models -> pictures on which they agree, pictures about which both said something."""
        found: dict[tuple[str, str], tuple[int, int]] = {}
        for picture in self.pictures:
            for pair, agree in picture.pairs.items():
                agreeing, all_of_them = found.get(pair, (0, 0))
                found[pair] = agreeing + agree, all_of_them + 1
        return found


def read_pictures(result: ResultRows, meanings: Meanings, *, model: str) -> Pictures:
    """Collect what the rows say about each picture.

    Args:
        result: The rows.
        meanings: What the columns mean; one must be the picture's address.
        model: The name of the model if no column has one.
    """
    by_address: dict[str, Picture] = {}
    names = [column.name for column in result.columns]
    num_without = 0
    for values in result.rows:
        row = dict(zip(names, values, strict=True))
        address = to_text(row[str(meanings.image)]).strip()
        if not address:
            num_without += 1
            continue
        picture = by_address.setdefault(address, Picture(address))
        for answer in row_answers(row, meanings, model):
            picture.answers.setdefault(answer.model, []).append(answer)
        _add_comparison(picture, row, meanings)
    pictures = list(by_address.values())
    for picture in pictures:
        _finish(picture)
    models = dict.fromkeys(name for picture in pictures for name in picture.answers)
    return Pictures(pictures, list(models), num_without)


def row_answers(row: Mapping[str, Any], meanings: Meanings, model: str) -> Iterator[Answer]:
    """The answers in one row; a NULL label is no answer."""
    if meanings.label is not None and row[meanings.label] is not None:
        yield Answer(
            model=printable(_text(row, meanings.model)) or model,
            label=to_text(row[meanings.label]),
            score=_score(row, meanings.score),
            rank=_whole(row, meanings.rank),
            box=read_box([row[name] for name in meanings.box]),
        )
    for rank, pair in enumerate(meanings.pairs, 1):
        if row[pair.label] is not None:
            label = to_text(row[pair.label])
            yield Answer(pair.model or model, label, _score(row, pair.score), rank)
    for name in meanings.answers:
        prefix = f"{name}: " if len(meanings.answers) > 1 else ""
        for found in read_annotations(row[name]):
            label = found["name"] or found["feature"]
            box = read_box([found["box"]])
            feature = f"{prefix}{found['feature'].replace('_', ' ').lower()}"
            yield Answer(feature, to_text(label), found["score"], found["rank"], box)
    for nested in meanings.nested:
        yield from _nested_answers(row, nested)


def _nested_answers(row: Mapping[str, Any], nested: Nested) -> Iterator[Answer]:
    for item in row[nested.column] or ():
        if isinstance(item, Mapping):
            yield from row_answers(item, nested.meanings, nested.column)


def _text(row: Mapping[str, Any], name: str | None) -> str:
    return "" if name is None else to_text(row[name])


def _score(row: Mapping[str, Any], name: str | None) -> float | None:
    value = None if name is None else row[name]
    try:
        number = None if value is None else float(value)
    except (TypeError, ValueError):
        return None
    return number if number is not None and math.isfinite(number) else None


def _whole(row: Mapping[str, Any], name: str | None) -> int | None:
    value = None if name is None else row[name]
    return int(value) if isinstance(value, int) else None


def read_box(values: Sequence[Any]) -> Box | None:
    """Read a box from four columns, or from one in any usual form.

    One column may be a struct or JSON with the four corners by name or with `vertices` or
    `normalizedVertices`, an array of four numbers, or a text of four numbers. Otherwise None, as for
    a box without a size.
    """
    numbers: list[float] | None
    if len(values) == len(_CORNER_NAMES):
        numbers = _floats(values)
    else:
        numbers = _corners(values[0]) if values else None
    if numbers is None or len(numbers) != len(_CORNER_NAMES):
        return None
    left, top, right, bottom = numbers
    return (left, top, right, bottom) if right > left and bottom > top else None


_CORNER_NAMES: Final = (
    ("x_min", "xmin", "left", "x1"),
    ("y_min", "ymin", "top", "y1"),
    ("x_max", "xmax", "right", "x2"),
    ("y_max", "ymax", "bottom", "y2"),
)


def _corners(value: Any) -> list[float] | None:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return _floats(_NUMBER.findall(value))
    if isinstance(value, Mapping):
        polygon = value.get("boundingPoly", value)
        if not isinstance(polygon, Mapping):
            return None
        points = polygon.get("normalizedVertices") or polygon.get("vertices")
        if points:
            return _around(points)
        named = [next((polygon[n] for n in names if n in polygon), None) for names in _CORNER_NAMES]
        return _floats(named)
    if isinstance(value, list | tuple):
        return _around(value) if value and isinstance(value[0], Mapping) else _floats(value)
    return None


def _around(points: Any) -> list[float] | None:
    """The upright box around points; a coordinate that is 0 may be missing."""
    if not isinstance(points, list | tuple) or not all(isinstance(p, Mapping) for p in points):
        return None
    xs, ys = (_floats([point.get(axis, 0) for point in points]) for axis in "xy")
    return [min(xs), min(ys), max(xs), max(ys)] if xs and ys else None


def _floats(values: Iterable[Any]) -> list[float] | None:
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError):
        return None
    return numbers if all(map(math.isfinite, numbers)) else None


def in_fractions(box: Box, width: int, height: int) -> Box | None:
    """A box as fractions of a picture's size, cut at its edges; None = nothing of it is inside.

    Args:
        box: In fractions or in pixels.
        width: Of the whole picture, in pixels.
        height: Likewise.
    """
    across, down = (width, height) if max(box) > _PIXELS else (1, 1)
    left, top, right, bottom = (
        min(1.0, max(0.0, number / size))
        for number, size in zip(box, (across, down, across, down), strict=True)
    )
    return (left, top, right, bottom) if right > left and bottom > top else None


def _add_comparison(picture: Picture, row: Mapping[str, Any], meanings: Meanings) -> None:
    """What the table itself says about agreement; it counts before a comparison of our own."""
    if meanings.agreement is not None and picture.agreement is None:
        picture.agreement = _score(row, meanings.agreement)
    if meanings.compared is not None and not picture.pairs:
        for pair in row[meanings.compared] or ():
            one, other = sorted(printable(to_text(pair[each])) for each in _COMPARED)
            picture.pairs[one, other] = bool(pair["agree"])


_COMPARED: Final = ("model", "other_model")


def _finish(picture: Picture) -> None:
    for answers in picture.answers.values():
        answers.sort(key=lambda answer: answer.order)
        picture.num_left_out += len(answers[MAX_ANSWERS:])
        del answers[MAX_ANSWERS:]
    if not picture.pairs:
        picture.pairs = compare(picture.answers)
    if picture.agreement is None and picture.pairs:
        picture.agreement = sum(picture.pairs.values()) / len(picture.pairs)


def compare(answers: Mapping[str, Sequence[Answer]]) -> dict[tuple[str, str], bool]:
    """Compare models: two agree if their best labels have a term in common.

    The terms of a label are the label itself and its last word ("Egyptian cat" is a cat), in any
    case. `jobs/sql/model_agreement.sql` does the same, and knows wider words too.

    Args:
        answers: By model, the best one first.

    Returns:
        Pairs of models, in order of their names -> whether they agree. A model without an answer
        that counts is in none.
    """
    terms = {model: _terms(found) for model, found in sorted(answers.items())}
    said = {model: found for model, found in terms.items() if found}
    return {
        (one, other): not said[one].isdisjoint(said[other]) for one, other in combinations(said, 2)
    }


def _terms(answers: Sequence[Answer]) -> set[str]:
    best = [
        answer.label.casefold().strip()
        for place, answer in enumerate(answers, 1)
        if (answer.rank or place) <= MAX_RANK
        and (answer.score is None or answer.score >= MIN_SCORE)
    ]
    return {term for label in best if label for term in (label, label.split()[-1])}
