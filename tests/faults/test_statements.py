"""A kill at every request of every mode: the target is as before, or complete.

The process is killed before a request arrives, or after it was answered. In the suite at some
requests of each mode; with `ETLKIT_STATEMENTS=all` the requests of a clean run are counted first, and
it is killed after each of them, twice: once for a resume, once for a new run.
"""

import os
import signal
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from queue import Queue

import pytest

from etlkit import Definition
from tests.faults.attempt import MENDED_ROWS, NUM_ROWS, REJECTED, ROWS

ALL = os.environ.get("ETLKIT_STATEMENTS") == "all"
ANY_COLUMNS = {"on_schema_change": "add_columns"}
COLUMNS = ("n", "part", "value")
MADE = [dict(zip(COLUMNS, row, strict=True)) for row in ROWS]
SELECTED = [{"n": n, "part": 0, "value": n * 2} for n in range(NUM_ROWS)]
MENDED = tuple(dict(zip(COLUMNS, row, strict=True)) for row in MENDED_ROWS)


def inserted(disposition, **options):
    """An insert of a datamart."""
    return {
        "sql": "SELECT n, 0 AS part, n * 2 AS value FROM fence.numbers",
        "query_mode": "insert",
        "write_disposition": disposition,
        **options,
    }


@dataclass(frozen=True)
class Scenario:
    """A job, a target, and what becomes of it.

    Attributes:
        changes: Changes of the plan.
        columns: Columns of the target; empty = there is none.
        before: Its rows.
        kept: Rows that stay.
        made: Rows that a run adds.
        after: Columns in the end, in order.
        adds: Whether a second run adds the same rows once more.
        retries: Whether a run has published already, and its rejected rows are run again.
    """

    changes: Mapping = field(default_factory=dict)
    columns: str = "n INT64, part INT64, value INT64"
    before: tuple = ({"n": -1, "part": 0, "value": 0},)
    kept: tuple = ()
    made: tuple = tuple(MADE)
    after: tuple = COLUMNS
    adds: bool = False
    retries: bool = False


OTHER = {"columns": "n INT64, old STRING", "before": ({"n": -1, "old": "x"},)}
HERE = {"kept": Scenario.before}
MISSING = {"columns": "", "before": ()}
MATCHED = {"before": ({"n": -1, "part": 0, "value": 0}, {"n": 2, "part": 0, "value": -5})}
KEYS = {"sink": {"merge_keys": ("n", "part")}}
DROPPED = {"sink": {"definition": Definition(clustering=("part",)), "allow_drop": True}}

SCENARIOS = {
    "append": Scenario(**HERE, adds=True),
    "append, missing target": Scenario(**MISSING, adds=True),
    "append, results kept": Scenario({"job": {"reuse": "n"}}, **HERE, adds=True),
    "append, new columns": Scenario(
        {"job": ANY_COLUMNS},
        **OTHER,
        kept=OTHER["before"],
        after=("n", "old", "part", "value"),
        adds=True,
    ),
    "replace": Scenario({"mode": "replace"}),
    "replace, other columns": Scenario(
        {"mode": "replace", "job": ANY_COLUMNS}, **OTHER, after=COLUMNS
    ),
    "replace, missing target": Scenario({"mode": "replace"}, **MISSING),
    "merge": Scenario({"mode": "merge", **KEYS}, **MATCHED, **HERE),
    "merge, missing target": Scenario({"mode": "merge", **KEYS}, **MISSING),
    "delete_in_advance, kept table": Scenario({"mode": "delete_in_advance"}, **OTHER),
    "delete_in_advance, dropped table": Scenario({"mode": "delete_in_advance", **DROPPED}, **OTHER),
    "delete_in_advance, missing target": Scenario({"mode": "delete_in_advance"}, **MISSING),
    "rejected rows again": Scenario(
        {"is_mended": True}, before=tuple(MADE), kept=tuple(MADE), made=MENDED, retries=True
    ),
    "datamart append": Scenario(
        {"datamart": inserted("append")}, **HERE, made=tuple(SELECTED), adds=True
    ),
    "datamart truncate": Scenario({"datamart": inserted("truncate")}, made=tuple(SELECTED)),
    "datamart incremental": Scenario(
        {"datamart": inserted("incremental", merge_keys=("n", "part"))},
        **MATCHED,
        **HERE,
        made=tuple(SELECTED),
    ),
}


class World:
    """A scenario's target and the attempts at it."""

    def __init__(self, fence, scenario):
        self.fence = fence
        self.scenario = scenario
        self.changes = dict(scenario.changes)
        if "datamart" in self.changes:
            self.changes["datamart"] = {**self.changes["datamart"], "destination": fence.target}

    @property
    def is_resumable(self):
        """Whether there is a resume; an insert of a datamart is run again."""
        return "datamart" not in self.changes

    def reset(self):
        """Make the target as it is before, and forget the runs."""
        fence, scenario = self.fence, self.scenario
        if fence.table_exists("run_events"):
            fence.run(f"DELETE FROM etlkit_work.run_events WHERE job = '{fence.target}'")
        for name in (fence.target, f"{fence.target}_rejects"):
            fence.run(f"DROP TABLE IF EXISTS {name}")
        if scenario.retries:
            self.changes["retry_rejects"] = fence.run_to_end().report["run_id"]
        elif scenario.columns:
            fence.run(f"CREATE TABLE {fence.target} ({scenario.columns})")
            values = ", ".join(
                f"({', '.join(repr(value) for value in row.values())})" for row in scenario.before
            )
            fence.run(f"INSERT INTO {fence.target} VALUES {values}")

    def runs(self):
        """Id and state of the runs that are under test."""
        earlier = self.changes.get("retry_rejects")
        return [(run_id, state) for run_id, state, _ in self.fence.runs() if run_id != earlier]

    def rows(self):
        """The target's rows with their columns, without nulls; None = there is no target."""
        fence = self.fence
        dataset, _, name = fence.target.partition(".")
        if not fence.table_exists(name, dataset):
            return None
        found = fence.bq.query_and_wait(f"SELECT * FROM {fence.target}")
        return Counter(bare(dict(row)) for row in found)

    def expected(self, times=1):
        """The rows in the end, where the run's rows came so often."""
        scenario = self.scenario
        times = times if scenario.adds else min(times, 1)
        if not times:
            return Counter(map(bare, scenario.before))
        return Counter(map(bare, scenario.kept)) + Counter(map(bare, scenario.made * times))

    def check(self, times):
        """All is there, and nothing else: rows, columns, rejected rows, ledger, no work table."""
        fence = self.fence
        assert self.rows() == self.expected(times)
        table = fence.bq.get_table(fence.target)
        assert tuple(field.name for field in table.schema) == self.scenario.after
        if self.is_resumable:
            assert fence.rejects() == Counter([] if self.scenario.retries else REJECTED * times)
        runs = self.runs()
        assert [state for _, state in runs].count("published") == times
        tables = [each.table_id for each in fence.bq.list_tables(table.dataset_id)]
        assert table.table_id in tables
        assert [each for each in tables if each.startswith(f"{table.table_id}__")] == []
        return runs


def bare(row):
    """A row without its nulls."""
    return tuple(sorted((name, value) for name, value in row.items() if value is not None))


def killed(world, name, when, number=1):
    """Start an attempt and kill it at a request; see `Hold`."""
    started = Queue()
    gateway = world.fence.gateway()
    gateway.hold(
        name, when, number=number, drops=True, then=lambda _: started.get(timeout=60).kill()
    )
    attempt = world.fence.start(gateway, **world.changes)
    started.put(attempt)
    attempt.process.join(60)
    assert attempt.process.exitcode == -signal.SIGKILL, gateway.names()
    attempt.close()


def kill_and_go_on(world, then, where, *moment):
    """As before or complete; complete after a resume; a new run says what it found."""
    fence = world.fence
    world.reset()
    killed(world, *moment)
    before = world.runs()
    published = [run_id for run_id, state in before if state == "published"]
    assert_untouched_or_complete(world, bool(published), where)
    resume = "last" if then == "a resume" and before else None
    end = fence.run_to_end(resume=resume, **world.changes)
    assert not end.error, (where, end)
    runs = world.check(1 if resume else 1 + len(published))
    if resume:
        assert [run_id for run_id, _ in runs] == [before[0][0]], where
        assert fence.work_tables(before[0][0]) == [], where
    elif before:
        assert_told(world, before[0][0], bool(published), end, where)


CREATE, ALTER, PUBLISH, CLEANUP = (
    "job create_target",
    "job alter_columns",
    "job publish",
    "job cleanup_1",
)
START = "job start"
SOME = [
    ("append", PUBLISH, "before", "a resume"),
    ("append", PUBLISH, "after", "a new run"),
    ("append", START, "after", "a new run"),
    ("append, missing target", CREATE, "after", "a resume"),
    ("append, new columns", ALTER, "after", "a resume"),
    ("replace", PUBLISH, "after", "a resume"),
    ("replace, other columns", CLEANUP, "before", "a resume"),
    ("replace, other columns", CLEANUP, "after", "a new run"),
    ("merge", PUBLISH, "after", "a resume"),
    ("delete_in_advance, dropped table", PUBLISH, "after", "a resume"),
    ("delete_in_advance, dropped table", CLEANUP, "before", "a new run"),
    ("rejected rows again", PUBLISH, "after", "a resume"),
    ("datamart truncate", PUBLISH, "before", "a new run"),
]


@pytest.mark.skipif(ALL, reason="the long form has these among others")
@pytest.mark.parametrize(("scenario", "name", "when", "then"), SOME)
def test_killed_at_a_request(fence, scenario, name, when, then):
    """As before or complete; complete after a resume; a new run says what it found."""
    world = World(fence, SCENARIOS[scenario])
    kill_and_go_on(world, then, (name, when), name, when)


@pytest.mark.skipif(not ALL, reason="the long form: ETLKIT_STATEMENTS=all")
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
@pytest.mark.parametrize("then", ["a resume", "a new run"])
def test_killed_at_every_request(fence, scenario, then, capsys):
    """The same at every request of a clean run: after one is before the next."""
    world = World(fence, scenario)
    if then == "a resume" and not world.is_resumable:
        pytest.skip("an insert of a datamart is run again, not resumed")
    world.reset()
    clean = fence.start(**world.changes)
    assert not clean.end().error
    world.check(1)
    names = clean.gateway.names()
    for number, name in enumerate(names, 1):
        where = f"killed after request {number} of {len(names)}, {name}"
        kill_and_go_on(world, then, where, None, "after", number)
    with capsys.disabled():
        sys.stdout.write(f"\nkilled after each of {len(names)} requests, then {then}\n")


def assert_untouched_or_complete(world, is_published, where):
    """Between publishing and its clean-up, columns that go away are null, or the old table is there."""
    rows = world.rows()
    as_before = rows == world.expected(0) or (
        rows in (None, Counter()) and not world.scenario.before
    )
    drops = world.changes.get("sink", {}).get("allow_drop")
    if is_published:
        assert rows == world.expected() or (drops and as_before), where
    else:
        assert as_before, where


def assert_told(world, run_id, is_published, end, where):
    """A new run that meets what a killed one has left says so."""
    left = world.fence.work_tables(run_id)
    if is_published:
        assert left == [], where
    elif world.is_resumable:
        assert any(
            f"run {run_id} was not published; --resume {run_id} goes on with it" in note
            for note in end.notes
        ), (where, end.notes)
