"""Charts of results as SVG, drawn by Vega-Lite when the page is made. Colours are those of the page."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any, Final

from etlkit.bigquery.result_rows import ResultColumn, ResultRows
from etlkit.cli.pages.charts import chart_svg
from etlkit.cli.pages.results_answers import Pictures
from etlkit.cli.sql_output import to_text
from etlkit.cli.tables import printable

if TYPE_CHECKING:
    from markupsafe import Markup

NUM_COLORS: Final = 8
"""Models beyond it share colours; `results.css` has `--model-0` to `--model-7`."""

_NUM_BINS: Final = 20
_MAX_LABELS: Final = 12
_MAX_CHARTS: Final = 12
_MAX_TEXT: Final = 24
"""Characters of a label beside a bar."""

_NUMBERS: Final = frozenset({"INT64", "FLOAT64", "NUMERIC", "BIGNUMERIC"})
_TIMES: Final = frozenset({"TIMESTAMP", "DATETIME", "DATE"})

_PADDING: Final = {"left": 20, "right": 12, "top": 5, "bottom": 5}
"""Pixels around a chart: the page's font may be wider than the one that Vega measures with."""

_NAMES: Final = {"labelLimit": 150}
"""Of an axis of names."""

_COUNTS: Final = {"tickCount": 4, "format": "~s", "tickMinStep": 1}
"""Of an axis of counts: no halves, and 12k for 12,000."""

_COUNT_Y: Final = {
    "field": "count",
    "type": "quantitative",
    "title": None,
    "axis": {**_COUNTS, "tickCount": 3},
}
_ABOVE: Final = {"labelAngle": 0, "labelOrient": "top", "labelAnchor": "start"}


@dataclass(frozen=True)
class Chart:
    """One chart of a page.

    Attributes:
        title: Its heading.
        text: What it shows, in words.
        svg: The picture.
    """

    title: str
    text: str
    svg: Markup


def answer_charts(pictures: Pictures) -> list[Chart]:
    """Charts of what models say: agreement, scores, labels; those without data are left out."""
    charts = [_agreement(pictures), _scores(pictures), _labels(pictures)]
    return [chart for chart in charts if chart is not None]


def column_charts(result: ResultRows, *, without: Sequence[str] = ()) -> list[Chart]:
    """A chart of each column that has numbers, times, or texts that repeat; at most 12.

    Args:
        result: The rows.
        without: Columns that are left out.
    """
    charts: list[Chart] = []
    for place, column in enumerate(result.columns):
        if column.name in without or column.is_repeated or len(charts) == _MAX_CHARTS:
            continue
        values = [row[place] for row in result.rows if row[place] is not None]
        chart = _column(column, values, len(result.rows) - len(values))
        if chart is not None:
            charts.append(chart)
    return charts


def _chart(title: str, text: str, spec: Mapping[str, Any]) -> Chart:
    return Chart(title, text, chart_svg({"padding": _PADDING, **spec}, title=f"{title}. {text}"))


def _agreement(pictures: Pictures) -> Chart | None:
    pairs = {pair: count for pair, count in pictures.agreement.items() if count[1]}
    if not pairs:
        return None
    cells = [
        {"one": one, "other": other, "share": agreeing / compared}
        for (a, b), (agreeing, compared) in pairs.items()
        for one, other in ((a, b), (b, a))
    ]
    size = max(150, 56 * len({cell["one"] for cell in cells}))
    axis = {"type": "nominal", "title": None}
    spec = {
        "width": size,
        "height": size * 0.7,
        "data": {"values": cells},
        "encoding": {
            "x": {"field": "one", **axis, "axis": {**_NAMES, "labelAngle": -30}},
            "y": {"field": "other", **axis, "axis": _NAMES},
        },
        "layer": [
            {
                "mark": "rect",
                "encoding": {
                    "color": {"value": "var(--active)"},
                    "opacity": {
                        "field": "share", "type": "quantitative", "legend": None,
                        "scale": {"domain": [0, 1], "range": [0.05, 0.45]},
                    },
                },
            },
            {
                "mark": {"type": "text", "fontSize": 13},
                "encoding": {"text": {"field": "share", "type": "quantitative", "format": ".0%"}},
            },
        ],
    }  # fmt: skip
    words = "; ".join(
        f"{a} and {b}: {agreeing:,} of {compared:,}"
        for (a, b), (agreeing, compared) in sorted(pairs.items())
    )
    return _chart("Agreement", f"Pictures on which two models agree. {words}.", spec)


def _scores(pictures: Pictures) -> Chart | None:
    scores: dict[str, list[float]] = {}
    for answer in pictures.answers:
        if answer.score is not None:
            scores.setdefault(answer.model, []).append(answer.score)
    if not scores:
        return None
    every = [score for found in scores.values() for score in found]
    low, high = min(0.0, *every), max(1.0, *every)
    bars = [
        {"model": model, **bar}
        for model, found in scores.items()
        for bar in _bins(found, low, high)
    ]
    models = [model for model in pictures.models if model in scores]
    scores_from_low_to_high = {
        "field": "from",
        "type": "quantitative",
        "bin": "binned",
        "title": "score",
        "scale": {"domain": [low, high], "nice": False},
        "axis": {"tickCount": 5, "format": ".2~f"},
    }
    spec = {
        "data": {"values": bars},
        "facet": {"row": {"field": "model", "title": None, "sort": models, "header": _ABOVE}},
        "resolve": {"scale": {"y": "independent"}},
        "spec": {
            "width": 260,
            "height": 80,
            "mark": {"type": "bar", "binSpacing": 1},
            "encoding": {
                "x": scores_from_low_to_high,
                "x2": {"field": "to"},
                "y": _COUNT_Y,
                "color": _color(models, pictures.models),
            },
        },
    }
    middles = ", ".join(f"{model} {_middle(scores[model]):.2f}" for model in models)
    text = f"How many answers have which score. Medians: {middles}."
    return _chart("Scores", text, spec)


def _labels(pictures: Pictures) -> Chart | None:
    counts = Counter((answer.model, _short(answer.label)) for answer in pictures.answers)
    totals: Counter[str] = Counter()
    for (_, label), count in counts.items():
        totals[label] += count
    best = [label for label, _ in totals.most_common(_MAX_LABELS)]
    if not best:
        return None
    bars = [
        {"model": model, "label": label, "count": count}
        for (model, label), count in counts.items()
        if label in best
    ]
    spec = {
        "width": 220,
        "height": {"step": 20},
        "data": {"values": bars},
        "mark": {"type": "bar", "color": "var(--active)"},
        "encoding": {
            "y": {"field": "label", "type": "nominal", "sort": best, "title": None, "axis": _NAMES},
            "x": {"field": "count", "type": "quantitative", "title": "answers", "axis": _COUNTS},
            "color": _color(pictures.models, pictures.models),
        },
    }
    text = f"{len(best)} of {len(totals):,} labels, the most frequent ones, by model."
    return _chart("Labels", text, spec)


def _color(shown: Sequence[str], models: Sequence[str]) -> dict[str, Any]:
    colors = [f"var(--model-{models.index(model) % NUM_COLORS})" for model in shown]
    return {
        "field": "model",
        "type": "nominal",
        "legend": None,
        "scale": {"domain": list(shown), "range": colors},
    }


def _column(column: ResultColumn, values: Sequence[Any], num_null: int) -> Chart | None:
    spec = None
    if column.type in _NUMBERS:
        spec = _histogram([float(value) for value in values], "quantitative")
    elif column.type in _TIMES:
        spec = _histogram([_milliseconds(value) for value in values], "temporal")
    elif column.type in {"STRING", "BOOL"}:
        spec = _frequent(values)
    if spec is None:
        return None
    nulls = f", {num_null:,} NULL" if num_null else ""
    text = f"{column.shown_type}, {len(set(values)):,} different values{nulls}"
    return _chart(column.name, text, spec)


def _histogram(values: Sequence[float], kind: str) -> dict[str, Any] | None:
    values = [value for value in values if math.isfinite(value)]
    if not values or min(values) == max(values):
        return None
    x: dict[str, Any] = {"field": "from", "type": kind, "title": None, "axis": {"tickCount": 4}}
    if kind == "quantitative":
        x |= {"bin": "binned", "axis": {"tickCount": 4, "format": "~s"}}
    else:
        x |= {"scale": {"type": "utc"}}
    return {
        "width": 250,
        "height": 90,
        "data": {"values": _bins(values, min(values), max(values))},
        "mark": {"type": "rect", "color": "var(--active)", "stroke": "var(--panel)"},
        "encoding": {
            "x": x,
            "x2": {"field": "to"},
            "y": _COUNT_Y,
            "y2": {"datum": 0},
        },
    }


def _frequent(values: Sequence[Any]) -> dict[str, Any] | None:
    counts = Counter(_short(to_text(value)) for value in values)
    if not counts or (len(counts) > _MAX_LABELS and len(counts) * 2 >= len(values)):
        return None  # every value is another one: an id or an address
    best = counts.most_common(_MAX_LABELS)
    rest = len(values) - sum(count for _, count in best)
    bars = [{"label": label, "count": count} for label, count in best]
    bars += [{"label": "… others", "count": rest}] if rest else []
    order = [bar["label"] for bar in bars]
    return {
        "width": 180,
        "height": {"step": 18},
        "data": {"values": bars},
        "mark": {"type": "bar", "color": "var(--active)"},
        "encoding": {
            "y": {
                "field": "label",
                "type": "nominal",
                "sort": order,
                "title": None,
                "axis": _NAMES,
            },
            "x": {"field": "count", "type": "quantitative", "title": None, "axis": _COUNTS},
        },
    }


def _bins(values: Sequence[float], low: float, high: float) -> list[dict[str, float]]:
    """How many values are in each of equal parts from `low` to `high`; empty parts are left out."""
    width = (high - low) / _NUM_BINS
    counts = Counter(min(_NUM_BINS - 1, int((value - low) / width)) for value in values)
    return [
        {"from": low + place * width, "to": low + (place + 1) * width, "count": count}
        for place, count in sorted(counts.items())
    ]


def _middle(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def _milliseconds(value: datetime | date) -> float:
    moment = value if isinstance(value, datetime) else datetime.combine(value, time())
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000


def _short(text: str) -> str:
    text = printable(" ".join(text.split())) or "(empty)"
    return text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 1]}…"
