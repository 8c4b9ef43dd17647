"""When each task ran, as a Gantt chart: a row for each task, its retries and its children."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from etlkit.api.workflow_report import TaskReport, WorkflowReport
from etlkit.cli.pages.charts import chart_svg
from etlkit.cli.quantities import duration_text, parse_time
from etlkit.cli.task_looks import children_text, look

if TYPE_CHECKING:
    from markupsafe import Markup

MAX_CHILDREN = 12
"""Children of one task with rows of their own; a longer list is drawn into the row of the task."""

MAX_NARROW_ROWS = 60
"""Rows of the chart for phones; a longer one would only make the page heavy."""

_WIDE, _NARROW = 1_000, 330
_LABEL_WIDTH = 230
_MAX_LABEL = 32
_INDENT = 14
"""Pixels for each step down."""

_TICK_STEPS_S = (
    *(0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30),
    *(minutes * 60 for minutes in (1, 2, 5, 10, 20, 30)),
    *(hours * 3600 for hours in (1, 2, 4, 6, 12, 24, 48)),
)


@dataclass(frozen=True, slots=True)
class _Bar:
    """Something that took time, in seconds since the first of them began."""

    row: int
    start: float
    end: float
    tone: str
    text: str
    href: str
    description: str
    is_failed_attempt: bool = False
    is_child: bool = False


@dataclass(frozen=True, slots=True)
class Timeline:
    """The chart in two widths, and what is not in it.

    Attributes:
        wide: For a desk.
        narrow: For a phone, labels above the bars; None = it has too many rows.
        num_rows: Rows of the chart.
        num_earlier: Tasks that an earlier attempt finished; they are not in the chart.
    """

    wide: Markup
    narrow: Markup | None
    num_rows: int
    num_earlier: int


def timeline(report: WorkflowReport) -> Timeline | None:
    """Draw the timeline of a run; None = no task of it has a time."""
    now = parse_time(report.finished_at)
    shown = list(_rows(report.tasks, "", 0))
    times = [_span(task, now) for _, _, task in shown]
    starts = [span[0] for span in times if span is not None]
    if not starts:
        return None
    zero = min(starts)
    ordered = [row for row, span in zip(shown, times, strict=True) if span is not None]
    labels = [(depth, _short(task.name)) for _, depth, task in ordered]
    bars = [
        bar
        for row, (key, depth, task) in enumerate(ordered)
        for bar in _bars(row, key, depth, task, zero, now)
    ]
    title = f"When the tasks ran, {len(ordered)} rows"
    narrow = None
    if len(ordered) <= MAX_NARROW_ROWS:
        narrow = chart_svg(_narrow(labels, bars), title=title)
    earlier = sum(task.from_earlier for task in report.tasks)
    return Timeline(chart_svg(_wide(labels, bars), title=title), narrow, len(ordered), earlier)


def _rows(
    tasks: Sequence[TaskReport], prefix: str, depth: int
) -> Iterator[tuple[str, int, TaskReport]]:
    """Key, depth and report of each row, tasks in the order in which they began."""
    keyed = [(f"{prefix}{number}", task) for number, task in enumerate(tasks, 1)]
    for key, task in sorted(keyed, key=lambda each: each[1].started_at or "~"):
        if task.from_earlier:
            continue
        yield key, depth, task
        if 0 < len(task.children) <= MAX_CHILDREN:
            yield from _rows(task.children, f"{key}-", depth + 1)


def _span(task: TaskReport, now: datetime | None) -> tuple[datetime, datetime] | None:
    began = parse_time(task.started_at)
    if began is None:
        return None
    for attempt in task.failed_attempts:
        first = parse_time(attempt.started_at)
        began = min(began, first) if first is not None else began
    return began, parse_time(task.finished_at) or now or began


def _bars(
    row: int, key: str, depth: int, task: TaskReport, zero: datetime, now: datetime | None
) -> Iterator[_Bar]:
    """The bars of one row: failed attempts, the last one, and children without rows of their own."""
    href, looks = f"#task-{key}", look(task.state)
    for number, attempt in enumerate(task.failed_attempts, 1):
        began, ended = parse_time(attempt.started_at), parse_time(attempt.finished_at)
        if began is not None and ended is not None:
            start, end = (began - zero).total_seconds(), (ended - zero).total_seconds()
            about = f"{task.name}, attempt {number} failed after {duration_text(end - start)}"
            yield _Bar(row, start, end, "bad", "", href, about, is_failed_attempt=True)
    began = parse_time(task.started_at)
    if began is None:
        return
    start = (began - zero).total_seconds()
    end = ((parse_time(task.finished_at) or now or began) - zero).total_seconds()
    facts = [looks.symbol, duration_text(task.seconds)]
    facts += [f"attempt {task.attempts}"] if task.attempts > 1 else []
    facts += [children_text(task)] if len(task.children) > MAX_CHILDREN else []
    about = f"{task.name}, {looks.word}, {duration_text(task.seconds)}, from {start:,.1f} s"
    yield _Bar(
        row,
        start,
        end,
        looks.tone,
        ", ".join(facts).replace(", ", " ", 1),
        href,
        about,
        is_child=depth > 0,
    )
    if len(task.children) > MAX_CHILDREN:
        for number, child in enumerate(task.children, 1):
            began, ended = parse_time(child.started_at), parse_time(child.finished_at)
            if began is not None and ended is not None and child.state != "succeeded":
                yield _Bar(
                    row,
                    (began - zero).total_seconds(),
                    (ended - zero).total_seconds(),
                    look(child.state).tone,
                    "",
                    f"#task-{key}-{number}",
                    f"{task.name}, {child.name}: {look(child.state).word}",
                    is_failed_attempt=True,
                )


def _wide(labels: Sequence[tuple[int, str]], bars: Sequence[_Bar]) -> dict[str, Any]:
    step, width = 24, _WIDE - _LABEL_WIDTH
    layers = [_bar_layers(bars, width, step, y_shift=0.5, bar_height=15)]
    layers += [_names(labels, y_shift=0.5, left=-_LABEL_WIDTH, limit=_LABEL_WIDTH - 10)]
    return _chart(layers, width, step, len(labels))


def _narrow(labels: Sequence[tuple[int, str]], bars: Sequence[_Bar]) -> dict[str, Any]:
    step = 38
    layers = [_bar_layers(bars, _NARROW, step, y_shift=0.72, bar_height=14)]
    layers += [_names(labels, y_shift=0.3, left=0, limit=_NARROW)]
    return _chart(layers, _NARROW, step, len(labels))


def _names(
    labels: Sequence[tuple[int, str]], *, y_shift: float, left: int, limit: int
) -> dict[str, Any]:
    values = [
        {"y": row + y_shift, "left": left + _INDENT * depth, "name": name}
        for row, (depth, name) in enumerate(labels)
    ]
    return {
        "data": {"values": values},
        "mark": {"type": "text", "align": "left", "baseline": "middle", "limit": limit},
        "encoding": {
            "x": {"field": "left", "type": "quantitative", "scale": None, "axis": None},
            "y": {"field": "y", "type": "quantitative"},
            "text": {"field": "name"},
        },
    }


def _bar_layers(
    bars: Sequence[_Bar], width: int, step: int, *, y_shift: float, bar_height: float
) -> dict[str, Any]:
    """The layers with the bars and with the text behind each."""
    longest = max((bar.end for bar in bars), default=0.0) or 1.0
    half = bar_height / step / 2
    values = []
    for bar in bars:
        reach = half * (0.6 if bar.is_child else 0.45 if bar.is_failed_attempt else 1)
        at_end = (
            bar.end / longest > 0.75
        )  # the text would leave the chart: it stands before the bar
        values.append(
            {
                "start": bar.start,
                "end": max(bar.end, bar.start + longest * 2 / width),  # two pixels at least
                "y": bar.row + y_shift - reach,
                "y2": bar.row + y_shift + reach,
                "middle": bar.row + y_shift,
                "tone": f"var(--{bar.tone})",
                "fill": f"var(--{bar.tone}-panel)"
                if bar.is_failed_attempt
                else f"var(--{bar.tone})",
                "text": bar.text,
                "before": bar.text if at_end and bar.start / longest > 0.3 else "",
                "inside": bar.text if at_end and bar.start / longest <= 0.3 else "",
                "after": "" if at_end else bar.text,
                "href": bar.href,
                "about": bar.description,
            }
        )
    y = {"field": "y", "type": "quantitative"}
    rectangles = {
        "mark": {"type": "rect", "cornerRadius": 2, "strokeWidth": 1},
        "encoding": {
            "x": {"field": "start", "type": "quantitative"},
            "x2": {"field": "end"},
            "y": y,
            "y2": {"field": "y2"},
            "fill": {"field": "fill", "type": "nominal", "scale": None},
            "stroke": {"field": "tone", "type": "nominal", "scale": None},
            "href": {"field": "href"},
            "description": {"field": "about"},
        },
    }
    texts = [_text_layer(place) for place in ("after", "before", "inside")]
    return {"data": {"values": values}, "layer": [rectangles, *texts]}


def _text_layer(place: str) -> dict[str, Any]:
    """The words of bars: after them, before them, or on them."""
    align, side, shift = {
        "after": ("left", "end", 5),
        "before": ("right", "start", -5),
        "inside": ("right", "end", -5),
    }[place]
    color = "var(--page)" if place == "inside" else "var(--text)"
    return {
        "transform": [{"filter": f"datum.{place} !== ''"}],
        "mark": {
            "type": "text",
            "align": align,
            "baseline": "middle",
            "dx": shift,
            "color": color,
            "aria": False,
        },
        "encoding": {
            "x": {"field": side, "type": "quantitative"},
            "y": {"field": "middle", "type": "quantitative"},
            "text": {"field": place},
        },
    }


def _chart(
    layers: Sequence[dict[str, Any]], width: int, step: int, num_rows: int
) -> dict[str, Any]:
    """The whole chart of a layer of bars, first, and one of names."""
    end = max(bar["end"] for bar in layers[0]["data"]["values"])
    ticks = _ticks(end, 8 if width > _NARROW else 4)
    labels = json.dumps({str(tick): text for tick, text in ticks.items()})
    axis = {"title": None, "orient": "top", "values": list(ticks)}
    x_scale = {"domain": [0, end], "nice": False}
    y_scale = {"domain": [0, num_rows], "reverse": True, "nice": False}
    return {
        "width": width,
        "height": step * num_rows,
        "layer": layers,
        "encoding": {
            "x": {
                "type": "quantitative",
                "axis": axis | {"labelExpr": f"({labels})['' + datum.value]"},
                "scale": x_scale,
            },
            "y": {"type": "quantitative", "axis": None, "scale": y_scale},
        },
    }


def _ticks(longest: float, most: int) -> dict[float, str]:
    """Round times on the axis with their labels: `40 s`, `1:20 min`, `2:30 h`."""
    fitting = [step for step in _TICK_STEPS_S if longest / step <= most]
    step = fitting[0] if fitting else _TICK_STEPS_S[-1] * math.ceil(longest / most / 172_800)
    count = int(longest // step) + 1
    return {_plain(number * step): _clock(number * step, longest) for number in range(count)}


def _plain(value: float) -> float:
    """A number that Python and Vega write alike."""
    rounded = round(value, 1)
    return int(rounded) if rounded == int(rounded) else rounded


def _clock(seconds: float, longest: float) -> str:
    if longest <= 60:
        return f"{_plain(seconds)} s"
    if longest <= 3600:
        return "{}:{:02} min".format(*divmod(round(seconds), 60))
    return "{}:{:02} h".format(*divmod(round(seconds / 60), 60))


def _short(name: str) -> str:
    return name if len(name) <= _MAX_LABEL else f"{name[: _MAX_LABEL - 1]}…"
