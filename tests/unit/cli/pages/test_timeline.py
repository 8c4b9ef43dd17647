"""The Gantt chart of a run."""

import re
from dataclasses import replace

import pytest

from etlkit.api.workflow_report import TaskReport, WorkflowReport
from etlkit.cli.pages.charts import chart_svg
from etlkit.cli.pages.timeline import _ticks, timeline
from tests.workflow_reports import article, at, hostile, large, task


def bars(svg):
    """Label, left and right end in pixels of each bar."""
    found = []
    for label, path in re.findall(r'<path aria-label="([^"]*)"[^>]*? d="([^"]*)"', svg):
        numbers = [float(n) for n in re.findall(r"-?\d+(?:\.\d+)?", path)]
        found.append((label, min(numbers[::2]), max(numbers[::2])))
    return found


def test_bars_lie_where_the_time_is():
    """Tasks side by side overlap in the chart, one after the other they do not."""
    report = WorkflowReport(
        run_id="r", job="j", tasks=[task("a", "python", 0, 50), task("b", "python", 50, 100),
                                    task("c", "python", 25, 75)],
    )  # fmt: skip
    found = {
        label.split(",")[0]: (left, right) for label, left, right in bars(timeline(report).wide)
    }
    scale = found["b"][1] / 100
    for name, (start, end) in {"a": (0, 50), "b": (50, 100), "c": (25, 75)}.items():
        assert found[name][0] == pytest.approx(start * scale, abs=1)
        assert found[name][1] == pytest.approx(end * scale, abs=1)


def test_retries_and_failed_parts_have_bars():
    """A failed attempt is drawn before the last one; a failed iteration within its loop."""
    labels = [label for label, _, _ in bars(timeline(article()).wide)]
    assert "vision_objects, attempt 1 failed after 6.2 s" in labels
    assert "by_day, 2026-10-13: failed" in labels
    assert "by_day, failed, 1 min 08 s, from 75.0 s" in labels
    first = [label for label in labels if label.startswith("vision_objects")]
    assert first[1] == "vision_objects, succeeded, 58 s, from 12.0 s"


def test_tasks_of_an_earlier_attempt_are_counted_only():
    """Their time is another day's: they would make the chart unreadable."""
    chart = timeline(article())
    assert chart.num_earlier == 1
    assert "resnet_model" not in chart.wide


def test_children_have_rows_if_they_are_few():
    """The tasks of a child workflow have rows of their own, 31 iterations have not."""
    chart = timeline(article())
    assert "agreement" in chart.wide
    assert "2026-10-14" not in chart.wide
    assert chart.num_rows == 20


def test_bars_lead_to_their_tasks():
    """Links are inside of the page and are not on the way of the keyboard."""
    links = re.findall(r'href="([^"]*)"', timeline(article()).wide)
    assert "#task-5" in links
    assert "#task-14-2" in links
    assert all(link.startswith("#task-") for link in links)
    assert timeline(article()).wide.count('tabindex="-1"') == len(links)


def test_a_phone_gets_a_chart_of_its_own_unless_it_is_long():
    """The narrow chart has the same bars."""
    chart = timeline(article())
    assert [label for label, *_ in bars(chart.narrow)] == [label for label, *_ in bars(chart.wide)]
    assert float(re.search(r'width="(\d+)"', chart.narrow)[1]) <= 350
    assert timeline(large(100)).narrow is None


def test_times_that_are_missing_or_wrong():
    """A task that runs ends with the report; without any time there is no chart."""
    running = replace(task("a", "python", 10), state="running")
    report = WorkflowReport(run_id="r", job="j", tasks=[running], finished_at=at(40))
    assert bars(timeline(report).wide)[0][0].startswith("a, running")
    assert (
        timeline(WorkflowReport(run_id="r", job="j", tasks=[TaskReport(name="a", kind="python")]))
        is None
    )
    broken = hostile()
    broken.tasks[0].started_at = "soon"
    assert "alert(1)&lt;" in timeline(broken).wide


@pytest.mark.parametrize(
    ("longest", "first", "last"),
    [
        (0.4, "0 s", "0.4 s"),
        (45, "0 s", "40 s"),
        (143, "0:00 min", "2:20 min"),
        (7_300, "0:00 h", "2:00 h"),
        (400_000, "0:00 h", "96:00 h"),
        (9e6, "0:00 h", "2352:00 h"),
    ],
)
def test_the_axis_has_round_times(longest, first, last):
    """Few ticks, each at a round time."""
    ticks = list(_ticks(longest, 8).values())
    assert (ticks[0], ticks[-1]) == (first, last)
    assert 3 <= len(ticks) <= 9


def test_a_chart_keeps_nothing_that_leads_out():
    """Vega's own addresses, hidden labels and the digits that nobody sees are gone."""
    spec = {
        "data": {"values": [{"a": f"x{i}", "b": i / 3, "h": "#there"} for i in range(60)]},
        "width": 300,
        "mark": "bar",
        "encoding": {
            "x": {"field": "a", "type": "nominal", "axis": {"labelOverlap": True}},
            "y": {"field": "b", "type": "quantitative"},
            "href": {"field": "h"},
        },
    }
    svg = chart_svg(spec, title="A & B")
    assert set(re.findall(r'href="([^"]*)"', svg)) == {"#there"}
    assert 'aria-label="A &amp; B"' in svg
    assert 'opacity="0"' not in svg
    assert " style=" not in svg
    assert not re.search(r' d="[^"]*\d\.\d\d', svg)
