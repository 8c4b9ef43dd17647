"""The page of many runs: how they ended by day, how long they took, their rows and their cost."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from etlkit.api.workflow_report import RunSummary
from etlkit.cli.pages.base import read_template, write_page
from etlkit.cli.pages.charts import chart_svg
from etlkit.cli.quantities import (
    cost_text,
    count_text,
    duration_text,
    parse_time,
    size_text,
    time_text,
)
from etlkit.cli.task_looks import look

if TYPE_CHECKING:
    from markupsafe import Markup

MAX_ROWS = 500
"""Runs in the table; the charts and the sums count all of them."""

_MAX_JOBS = 12
"""Jobs with charts of their own, those with the most runs."""

_WIDE, _NARROW = 900, 300
_END_STATES = ("failed", "dead", "interrupted", "running", "published")


@dataclass(frozen=True, slots=True)
class _Job:
    """What the runs of one job have in common."""

    name: str
    kind: str
    num_runs: int
    num_failed: int
    last: RunSummary
    typical_s: float | None
    rows: int | None
    bytes_billed: int | None
    cost: float | None


@dataclass(frozen=True, slots=True)
class _Chart:
    """A chart in two widths."""

    name: str
    title: str
    wide: Markup
    narrow: Markup


def write_runs_html(runs: Sequence[RunSummary], path: Path | str, *, days: int) -> None:
    """Write the overview of the runs of a period.

    Args:
        runs: In any order. The runs of a workflow's tasks (those with a `parent_run_id`) are not
            counted beside it: their rows and their cost are in its own.
        path: The file; an existing one is replaced in one step.
        days: Length of the period, which ends today.

    Raises:
        ConfigError: The packages of the `report` extra are missing, or the folder is not there.
        OSError: The file cannot be written.
    """
    own = [run for run in runs if run.parent_run_id is None]
    own.sort(key=lambda run: run.began_at, reverse=True)
    values = {
        "days": days,
        "facts": _facts(own),
        "charts": list(_charts(own, days)) if own else [],
        "jobs": list(_jobs(own)),
        "runs": own[:MAX_ROWS],
        "num_more": max(len(own) - MAX_ROWS, 0),
        "num_parts": len(runs) - len(own),
        "max_jobs": _MAX_JOBS,
        "look": look,
        "rows_of": _rows_of,
        "count_text": count_text,
        "size_text": size_text,
        "duration_text": duration_text,
        "cost_text": cost_text,
        "time_text": time_text,
    }
    write_page(
        Path(path),
        "runs.html",
        values,
        title=f"Runs of the last {days} days",
        styles=[read_template("run.css"), read_template("runs.css")],
        scripts=[read_template("runs.js")],
    )


def _facts(runs: Sequence[RunSummary]) -> dict[str, str]:
    published = sum(run.state == "published" for run in runs)
    facts = {
        "Runs": count_text(len(runs)),
        "Published": f"{published / len(runs):.0%}" if runs else "",
        "Failed": count_text(sum(run.state in {"failed", "dead"} for run in runs)),
        "Rows": count_text(_total(_rows_of(run) for run in runs)),
        "Bytes billed": size_text(_total(run.bytes_billed for run in runs)),
        "Cost": cost_text(_total(run.cost for run in runs)),
    }
    return {title: text for title, text in facts.items() if text}


def _total(values: Iterator[Any]) -> Any:
    """The sum of what is known; None = nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _rows_of(run: RunSummary) -> int | None:
    return run.rows if run.rows is not None else run.written


def _by_job(runs: Sequence[RunSummary]) -> dict[str, list[RunSummary]]:
    """The runs of each job, newest first; the job with the most runs first."""
    found: dict[str, list[RunSummary]] = defaultdict(list)
    for run in runs:
        found[run.job].append(run)
    return dict(sorted(found.items(), key=lambda each: -len(each[1])))


def _jobs(runs: Sequence[RunSummary]) -> Iterator[_Job]:
    for name, own in _by_job(runs).items():
        seconds = [
            run.seconds for run in own if run.state == "published" and run.seconds is not None
        ]
        yield _Job(
            name=name,
            kind=own[0].kind,
            num_runs=len(own),
            num_failed=sum(run.state in {"failed", "dead"} for run in own),
            last=own[0],
            typical_s=median(seconds) if seconds else None,
            rows=_total(_rows_of(run) for run in own),
            bytes_billed=_total(run.bytes_billed for run in own),
            cost=_total(run.cost for run in own),
        )


def _charts(runs: Sequence[RunSummary], days: int) -> Iterator[_Chart]:
    days_shown = _all_days(runs, days)
    yield _both("states", "Runs by day and state", lambda width: _states(runs, days_shown, width))
    if any(run.cost for run in runs):
        yield _both("cost", "Cost by day, in USD", lambda width: _costs(runs, days_shown, width))
    jobs = list(_by_job(runs))[:_MAX_JOBS]
    unit, unit_s = _time_unit(runs)
    points = [
        point for run in runs if run.job in jobs and (point := _point(run, unit_s)) is not None
    ]
    timed = [point for point in points if point["time"] is not None]
    counted = [point for point in points if point["rows"] is not None]
    if timed:
        title = f"Duration of each run, in {unit}"
        yield _both("duration", title, lambda width: _over_time(timed, "time", days_shown, width))
    if counted:
        title = "Rows of each run"
        yield _both("rows", title, lambda width: _over_time(counted, "rows", days_shown, width))


def _time_unit(runs: Sequence[RunSummary]) -> tuple[str, int]:
    """The unit in which the longest run is a number that people read, and its seconds."""
    longest = max((run.seconds or 0.0 for run in runs), default=0.0)
    if longest <= 180:
        return "seconds", 1
    return ("minutes", 60) if longest <= 3 * 3600 else ("hours", 3600)


def _both(name: str, title: str, spec: Callable[[int], dict[str, Any]]) -> _Chart:
    """Draw a chart for a desk and for a phone.

    Args:
        name: Of its section.
        title: Its heading.
        spec: Gives the specification for a width.
    """
    wide, narrow = (chart_svg(spec(width), title=title) for width in (_WIDE, _NARROW))
    return _Chart(name, title, wide, narrow)


def _day(run: RunSummary) -> str:
    return run.began_at[:10]


def _all_days(runs: Sequence[RunSummary], days: int) -> list[str]:
    """Each day of the period, also one without a run."""
    last = date.fromisoformat(max(_day(run) for run in runs))
    first = date.fromisoformat(min(_day(run) for run in runs))
    first = max(min(first, last - timedelta(days=days - 1)), last - timedelta(days=days))
    return [str(first + timedelta(days=number)) for number in range((last - first).days + 1)]


def _states(runs: Sequence[RunSummary], days: Sequence[str], width: int) -> dict[str, Any]:
    counts = Counter[tuple[str, str]]((_day(run), run.state) for run in runs)
    states = [state for state in _END_STATES if any(run.state == state for run in runs)]
    values = [
        {
            "day": day,
            "state": look(state).word,
            "order": order,
            "runs": counts[day, state],
            "about": f"{day}: {counts[day, state]} {look(state).word}",
        }
        for day in days
        for order, state in enumerate(states)
        if counts[day, state]
    ]
    words = [look(state).word for state in states]
    tones = [f"var(--{look(state).tone})" for state in states]
    # What was published is only framed, so that the rest is seen without telling colours apart.
    fills = [f"var(--{look(each).tone}{'-panel' * (each == 'published')})" for each in states]
    color = {"field": "state", "type": "nominal"}
    return _by_day(
        values,
        "runs",
        days,
        width,
        {
            "fill": color | {"scale": {"domain": words, "range": fills}, "legend": _LEGEND},
            "stroke": color | {"scale": {"domain": words, "range": tones}, "legend": _LEGEND},
            "order": {"field": "order"},
        },
    )


def _costs(runs: Sequence[RunSummary], days: Sequence[str], width: int) -> dict[str, Any]:
    sums: dict[str, float] = defaultdict(float)
    for run in runs:
        sums[_day(run)] += run.cost or 0.0
    values = [
        {"day": day, "cost": sums[day], "about": f"{day}: {cost_text(sums[day])}"} for day in days
    ]
    color = {"color": {"value": "var(--active)"}}
    return _by_day(values, "cost", days, width, color)


_LEGEND = {"title": None, "orient": "top", "direction": "horizontal"}


def _by_day(
    values: Sequence[dict[str, Any]],
    field: str,
    days: Sequence[str],
    width: int,
    more: dict[str, Any],
) -> dict[str, Any]:
    """Bars of a number, one a day."""
    number: dict[str, Any] = {"title": None, "tickCount": 4}
    if field == "runs":  # whole numbers only
        totals: Counter[str] = Counter()
        for value in values:
            totals[value["day"]] += value["runs"]
        number["tickCount"] = min(4, max(totals.values(), default=1))
    axis = {
        "title": None,
        "labelAngle": 0,
        "labelExpr": "slice(datum.label, 5)",
        "labelOverlap": True,
    }
    return {
        "data": {"values": values},
        "width": width,
        "height": 160,
        "mark": {"type": "bar"},
        "encoding": {
            "x": {
                "field": "day",
                "type": "ordinal",
                "axis": axis | {"grid": False},
                "scale": {"paddingInner": 0.2, "domain": list(days)},
            },
            "y": {"field": field, "type": "quantitative", "axis": number},
            "description": {"field": "about"},
            **more,
        },
    }


def _point(run: RunSummary, unit_s: int) -> dict[str, Any] | None:
    began = parse_time(run.began_at)
    if began is None:
        return None
    about = [f"{time_text(run.began_at)}", look(run.state).word, duration_text(run.seconds)]
    rows = _rows_of(run)
    about += [f"{rows:,} rows"] if rows is not None else []
    return {
        "job": run.job,
        "at": began.timestamp() * 1000,
        "time": None if run.seconds is None else run.seconds / unit_s,
        "rows": rows,
        "tone": f"var(--{look(run.state).tone})",
        "shape": "circle" if run.state == "published" else "cross",
        "about": ", ".join(filter(None, about)),
    }


def _over_time(
    points: Sequence[dict[str, Any]], field: str, days: Sequence[str], width: int
) -> dict[str, Any]:
    """A small chart for each job, each with a scale of its own."""
    jobs = list(dict.fromkeys(point["job"] for point in points))
    columns = 2 if width > _NARROW and len(jobs) > 1 else 1
    header = {"labelAnchor": "start", "labelOrient": "top", "labelLimit": 290, "labelFontSize": 13}
    return {
        "data": {"values": list(points)},
        "facet": {"field": "job", "type": "nominal", "title": None, "sort": jobs, "header": header},
        "columns": columns,
        "spec": {
            "width": width // columns - (50 if columns > 1 else 0),
            "height": 90,
            "mark": {"type": "point", "filled": True, "size": 32, "opacity": 1},
            "encoding": {
                "x": {
                    "field": "at",
                    "type": "temporal",
                    "scale": {"type": "utc", "domain": [_moment(days[0]), _moment(days[-1], 1)]},
                    "axis": {
                        "title": None,
                        "values": [_moment(day) for day in days[:: math.ceil(len(days) / 5)]],
                        "format": "%m-%d",
                        "grid": False,
                    },
                },
                "y": {
                    "field": field,
                    "type": "quantitative",
                    "axis": {"title": None, "tickCount": 3},
                    "scale": {"zero": True},
                },
                "fill": {"field": "tone", "type": "nominal", "scale": None},
                "shape": {"field": "shape", "type": "nominal", "scale": None},
                "description": {"field": "about"},
            },
        },
        "resolve": {"scale": {"y": "independent"}},
    }


def _moment(day: str, later: int = 0) -> int:
    """The beginning of a day, or of one some days later, as Vega counts: milliseconds in UTC."""
    moment = datetime.combine(date.fromisoformat(day), time.min, UTC) + timedelta(days=later)
    return int(moment.timestamp() * 1000)
