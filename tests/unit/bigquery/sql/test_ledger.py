"""The view of runs: asked of DuckDB, in its own dialect, over a few events."""

from etlkit.bigquery.names import TableName
from etlkit.bigquery.runs.ledger import EVENT_COLUMNS
from etlkit.bigquery.sql.ledger import runs_view


def test_the_view_shows_the_latest_state_of_each_run(db, ask):
    """A published run stays published; a later attempt wins; ends of tasks are no ends of runs."""
    names = ["event_at", "event", "run_id", "attempt"]
    rest = [column.name for column in EVENT_COLUMNS if column.name not in names]
    columns = ", ".join([f'"{name}" TEXT' for name in (*names, *rest)])
    db.execute(f"CREATE TABLE p.d.run_events ({columns})")
    events = [
        ("1", "started", "a", 1),
        ("2", "failed", "a", 1),
        ("3", "started", "a", 2),
        ("4", "started", "b", 1),
        ("5", "published", "b", 1),
        ("6", "failed", "b", 1),
        ("7", "started", "c", 1),
        ("7", "interrupted", "c", 1),
        ("8", "task_succeeded", "a", 3),
        ("8", "task_failed", "c", 1),
    ]
    db.executemany(f"INSERT INTO p.d.run_events ({', '.join(names)}) VALUES (?, ?, ?, ?)", events)
    view = runs_view(TableName("p", "d", "run_events"))
    assert ask(f"SELECT run_id, state, attempt, began_at, finished_at FROM ({view})") == [
        ("a", "running", "2", "1", None),
        ("b", "published", "1", "4", "5"),
        ("c", "interrupted", "1", "7", "7"),
    ]
