import pytest
from google.cloud import bigquery

from etlkit.api.run import Run, RunRequest
from etlkit.bigquery.runs import work_tables
from etlkit.bigquery.runs.guard import Guard, guard_name
from etlkit.bigquery.runs.ledger import Ledger
from tests.unit.bigquery.fake_connection import DATASET, FakeConnection

DEAD, RESUMABLE, DONE = (f"20300101_00000000{n}_0000000{n}" for n in (1, 2, 3))


@pytest.fixture
def connection(monkeypatch):
    """A ledger that knows three runs which were to take the place of `d.t`."""
    made = FakeConnection(datasets={"p.d"})
    ledger = Ledger(made, DATASET)
    ledger.make()
    monkeypatch.setattr(work_tables, "open_ledger", lambda *_: (made, ledger))
    states = {DEAD: "failed", RESUMABLE: "interrupted", DONE: "published"}
    rows = [{"run_id": i, "state": state, "target": "p.d.t"} for i, state in states.items()]
    rows.append({"run_id": DEAD, "state": "failed", "target": "p.gone.t"})
    made.answer("mode = @value", rows)
    Guard(made, guard_name(DATASET, RESUMABLE), RESUMABLE, 1).create()
    names = ["t", f"t__{DEAD}", f"t__{RESUMABLE}", f"t__{DONE}", f"other__{DEAD}", "t__mine"]
    for name in names:
        made.make_table(bigquery.Table(f"p.d.{name}"))
    return made


def test_tables_beside_a_target_are_dropped_with_the_run_that_made_them(connection):
    """A run that can be resumed needs its table, and that of a published run may hold its rows."""
    with Run(RunRequest("clean")) as run:
        dropped = work_tables.clean(run, "etlkit_work")
    assert dropped == [f"d.t__{DEAD}"]
    left = {name for name in connection.tables if name.startswith("p.d.")}
    assert left == {
        f"p.d.{name}"
        for name in ("t", f"t__{RESUMABLE}", f"t__{DONE}", f"other__{DEAD}", "t__mine")
    }
