"""What the columns of a result mean: which has the picture, the model, the label, the score."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

from etlkit.bigquery.result_rows import ResultColumn, ResultRows
from etlkit.cli.pages.vision_json import is_vision_answer
from etlkit.errors import ConfigError

NONE: Final = "none"
"""Given instead of a column's name: no column has this meaning."""

_NUMBERS: Final = frozenset({"INT64", "FLOAT64", "NUMERIC", "BIGNUMERIC"})
_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "image": (
        "uri", "image", "image_uri", "image_url", "photo", "picture", "url", "gcs_uri", "path",
        "image_path", "file", "filename", "file_name",
    ),
    "model": ("model", "model_name", "classifier", "annotator", "feature"),
    "label": (
        "label", "name", "object", "class", "class_name", "description", "category", "tag",
        "prediction", "predicted_label", "entity",
    ),
    "score": ("score", "confidence", "probability", "prob", "similarity"),
    "rank": ("rank", "position"),
    "agreement": ("agreement",),
    "box": ("box", "bbox", "bounding_box", "bounding_poly", "boundingpoly", "boundingbox"),
}  # fmt: skip
"""Names by meaning, in small letters, the likeliest first."""

_CORNERS: Final = (
    ("x_min", "y_min", "x_max", "y_max"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("left", "top", "right", "bottom"),
    ("x1", "y1", "x2", "y2"),
)
_KINDS: Final[Mapping[str, frozenset[str]]] = {
    "image": frozenset({"STRING"}),
    "model": frozenset({"STRING"}),
    "label": frozenset({"STRING", "INT64", "BOOL"}),
    "score": _NUMBERS,
    "rank": frozenset({"INT64"}),
    "agreement": _NUMBERS,
    "box": frozenset({"STRING", "STRUCT", "JSON", "FLOAT64"}),
}
"""Types that a column needs for a meaning to be guessed."""

_ADDRESS: Final = re.compile(r"^(?:(?:gs|https?)://\S|[^\s<>]+$)")
_IMAGE_NAME: Final = re.compile(
    r"\.(?:jpe?g|png|gif|webp|bmp|tiff?|ico)(?:[?#].*)?$", re.IGNORECASE
)
_SAMPLE: Final = 200
"""Values that are looked at to guess."""

_RANKED: Final = re.compile(r"(?P<stem>.+)_(?P<rank>\d+)")
_SCORE_OF: Final = re.compile(r"(?P<stem>.+)_(?:score|confidence|probability)")


@dataclass(frozen=True)
class Pair:
    """Columns that stand side by side: what one model says.

    Attributes:
        model: What to call it; empty = the table has one model.
        label: The column of the label.
        score: The column of the score.
    """

    model: str
    label: str
    score: str


@dataclass(frozen=True)
class Nested:
    """An array of structs with labels.

    Attributes:
        column: The column.
        meanings: Of its fields; its own `nested` and `pairs` are empty.
    """

    column: str
    meanings: Meanings


@dataclass(frozen=True)
class Meanings:
    """What the columns mean; None or empty = no column means that.

    Attributes:
        image: The address of a picture: `gs://…`, `https://…` or a path in the local buckets.
        model: Which model answered; without it all answers are one model's.
        label: What the model says.
        score: How sure it is, 0 to 1.
        rank: Its place among the answers of the model, 1 = best.
        box: One column, or four: left, top, right, bottom.
        agreement: How far the models agree about the picture, 0 to 1.
        answers: Columns with Vision's JSON.
        nested: Arrays of structs with labels.
        pairs: Label and score of several models, or several ranks, in one row.
        compared: An array of structs `model`, `other_model`, `agree`.
    """

    image: str | None = None
    model: str | None = None
    label: str | None = None
    score: str | None = None
    rank: str | None = None
    box: tuple[str, ...] = ()
    agreement: str | None = None
    answers: tuple[str, ...] = ()
    nested: tuple[Nested, ...] = ()
    pairs: tuple[Pair, ...] = ()
    compared: str | None = None

    @property
    def has_answers(self) -> bool:
        """Whether any column says what a model sees."""
        return bool(self.label or self.answers or self.nested or self.pairs)

    def described(self) -> list[tuple[str, str]]:
        """Meaning and column, for people; those that no column has are left out."""
        shown = [
            (each.name, value if isinstance(value, str) else ", ".join(value))
            for each in fields(self)
            if each.name not in {"nested", "pairs", "answers", "compared"}
            and (value := getattr(self, each.name))
        ]
        if self.answers:
            shown.append(("Vision's answer", ", ".join(self.answers)))
        if self.nested:
            shown.append(("answers", ", ".join(each.column for each in self.nested)))
        for model in dict.fromkeys(each.model for each in self.pairs):
            columns = [f"{each.label}, {each.score}" for each in self.pairs if each.model == model]
            shown.append((f"answers of {model}" if model else "answers", "; ".join(columns)))
        return shown + ([("compared models", self.compared)] if self.compared else [])


@dataclass(frozen=True)
class Given:
    """What the user says about columns, instead of a guess; None = guess, `NONE` = no column.

    Attributes:
        image: See `Meanings`; likewise the others.
        model: See there.
        label: See there.
        score: See there.
        box: See there; one column or four, with commas.
    """

    image: str | None = None
    model: str | None = None
    label: str | None = None
    score: str | None = None
    box: str | None = None

    def __post_init__(self) -> None:
        """Refuse a box that is neither one column nor four, before any I/O."""
        if self.box is not None and len(self.box.split(",")) not in {1, 4}:
            raise ConfigError(
                f"box {self.box!r}: give one column, or four for left, top, right and bottom, e.g. "
                "x_min,y_min,x_max,y_max"
            )


@dataclass(frozen=True)
class _Table:
    columns: Sequence[ResultColumn]
    values: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def of_type(self, meaning: str) -> dict[str, str]:
        """Columns whose type allows a meaning: the name in small letters -> the name."""
        return {
            column.name.casefold(): column.name
            for column in self.columns
            if column.type in _KINDS[meaning] and column.is_repeated <= (meaning == "box")
        }


def find_meanings(result: ResultRows, given: Given | None = None) -> Meanings:
    """Find what the columns mean, by what is given, else by name, type and the first values.

    Without addresses of pictures no column means anything: the rows are just rows.

    Raises:
        ConfigError: A given column is not in the result.
    """
    given = given or Given()
    sample = result.rows[:_SAMPLE]
    values = {
        column.name: [row[place] for row in sample if row[place] is not None]
        for place, column in enumerate(result.columns)
    }
    table = _Table(result.columns, values)
    found = _guess(table)
    if given.label is None and given.score is None:
        found = replace(
            found,
            answers=_vision_answers(table),
            nested=_nested(table),
            pairs=_pairs(table),
            compared=_compared(table),
        )
        if found.pairs:
            found = replace(found, label=None, score=None)
    found = _with_given(found, given, [column.name for column in result.columns])
    return found if found.image is not None else Meanings()


def _guess(table: _Table) -> Meanings:
    def named(meaning: str) -> str | None:
        there = table.of_type(meaning)
        return next((there[name] for name in _NAMES[meaning] if name in there), None)

    label = named("label")
    return Meanings(
        image=_image(table),
        model=named("model") if label else None,
        label=label,
        score=named("score") if label else None,
        rank=named("rank") if label else None,
        box=_box(table) if label else (),
        agreement=named("agreement"),
    )


def _image(table: _Table) -> str | None:
    """The column of addresses: a likely name, else names of image files."""
    there = table.of_type("image")
    for name in _NAMES["image"]:
        if name in there and _share(_ADDRESS, table.values.get(there[name], ())) > 0.5:
            return there[name]
    for name in there.values():
        values = table.values.get(name, ())
        if _share(_IMAGE_NAME, values) > 0.5 and _share(_ADDRESS, values) > 0.5:
            return name
    return None


def _share(pattern: re.Pattern[str], values: Sequence[Any]) -> float:
    return sum(pattern.search(str(value)) is not None for value in values) / max(1, len(values))


def _box(table: _Table) -> tuple[str, ...]:
    numbers = table.of_type("score")
    for corners in _CORNERS:
        if all(name in numbers for name in corners):
            return tuple(numbers[name] for name in corners)
    there = table.of_type("box")
    return next(((there[name],) for name in _NAMES["box"] if name in there), ())


def _vision_answers(table: _Table) -> tuple[str, ...]:
    return tuple(
        column.name
        for column in table.columns
        if column.type in {"JSON", "STRING", "STRUCT"}
        and not column.is_repeated
        and any(is_vision_answer(value) for value in table.values.get(column.name, ())[:20])
    )


def _nested(table: _Table) -> tuple[Nested, ...]:
    found = []
    for column in table.columns:
        if column.is_repeated and column.fields:
            meanings = _guess(_Table(column.fields))
            if meanings.label and (meanings.score or meanings.model or meanings.box):
                found.append(Nested(column.name, replace(meanings, image=None, agreement=None)))
    return tuple(found)


def _compared(table: _Table) -> str | None:
    wanted = {"model", "other_model", "agree"}
    for column in table.columns:
        if column.is_repeated and wanted <= {each.name.casefold() for each in column.fields}:
            return column.name
    return None


def _pairs(table: _Table) -> tuple[Pair, ...]:
    """Columns such as `name_1, score_1, name_2, …` or `class, class_score, object, object_score`."""
    labels, scores = table.of_type("label"), table.of_type("score")
    found = []
    for name, column in scores.items():
        ranked, named = _RANKED.fullmatch(name), _SCORE_OF.fullmatch(name)
        if ranked is not None and ranked["stem"].endswith(_NAMES["score"]):
            prefix = ranked["stem"].removesuffix("score").removesuffix("confidence")
            for each in _NAMES["label"]:
                other = f"{prefix}{each}_{ranked['rank']}"
                if other in labels:
                    found.append(Pair(prefix.strip("_"), labels[other], column))
                    break
        elif named is not None:
            stem = named["stem"]
            choices = (stem, *(f"{stem}_{each}" for each in _NAMES["label"]))
            other = next((each for each in choices if each in labels), "")
            if other:
                found.append(Pair(stem, labels[other], column))
    return tuple(found)


def _with_given(found: Meanings, given: Given, names: Sequence[str]) -> Meanings:
    there = {name.casefold(): name for name in names}

    def column(meaning: str, text: str) -> str:
        name = there.get(text.strip().casefold())
        if name is None:
            raise ConfigError(
                f"--{meaning} {text.strip()}: the result has no such column; it has "
                f"{', '.join(names)}"
            )
        return name

    changes: dict[str, Any] = {}
    for meaning in ("image", "model", "label", "score", "box"):
        text = getattr(given, meaning)
        if text is None:
            continue
        if text.strip().casefold() == NONE and NONE not in there:
            changes[meaning] = () if meaning == "box" else None
        elif meaning == "box":
            changes["box"] = tuple(column("box", each) for each in text.split(","))
        else:
            changes[meaning] = column(meaning, text)
    return replace(found, **changes)
