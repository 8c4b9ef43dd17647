"""What people see of the workers of a run."""

import json
from datetime import UTC, datetime, timedelta

from google.cloud import bigquery

from etlkit.bigquery.runs.guard import LEASE_S
from etlkit.bigquery.shards.run_workers import RunWorkers, workers_of
from etlkit.bigquery.shards.shard_log import LogState
from etlkit.bigquery.shards.shard_map import ShardEvent, ShardMap
from etlkit.cli.run_tables import worker_rows, workers_text

BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NOW = BEGAN + timedelta(seconds=100)


def told(after_s, kind, worker="", *, attempt=2, **values):
    empty = dict.fromkeys(["first", "last", "generation", "fraction", "rows", "host", "source"])
    return {
        **empty,
        "event_at": BEGAN + timedelta(seconds=after_s),
        "kind": kind,
        "worker": worker,
        "attempt": attempt,
        **values,
    }


def shards(first, last, rows=None):
    return {"first": first, "last": last, "generation": 1, "source": "p.d.t", "rows": rows}


def state_of(rows):
    events = [
        ShardEvent(r["kind"], r["worker"], r["first"] or 0, r["last"] or 0, 1, "p.d.t")
        for r in rows
        if r["attempt"] == 2
    ]
    return LogState(ShardMap.of(events), 2, 1, NOW, rows)


def lease(silent_s, rows):
    labels = {"etlkit_owner": "x", "etlkit_state": "running", "etlkit_at_rows": str(rows)}
    modified = (NOW - timedelta(seconds=silent_s)).timestamp() * 1000
    return bigquery.Table.from_api_repr(
        {
            "tableReference": {"projectId": "p", "datasetId": "d", "tableId": "t"},
            "labels": labels,
            "lastModifiedTime": str(int(modified)),
            "description": json.dumps({}),
        }
    )


ROWS = [
    told(0, "joined", "old", attempt=1, host="h1"),
    told(0, "claimed", "old", attempt=1, **shards(0, 9)),
    told(9, "opened", **shards(0, 4095)),
    told(10, "share", "busy", fraction=0.5),
    told(11, "joined", "busy", host="h1"),
    told(11, "joined", "done", host="h2"),
    told(12, "claimed", "busy", **shards(0, 9)),
    told(12, "claimed", "done", **shards(10, 19)),
    told(12, "claimed", "dead", **shards(20, 29)),
    told(12, "claimed", "silent", **shards(30, 39)),
    told(30, "settled", "busy", **shards(0, 9, rows=50)),
    told(31, "settled", "done", **shards(10, 19, rows=40)),
    told(31, "claimed", "busy", **shards(40, 59)),
    told(31, "left", "done"),
    told(32, "lost", "dead"),
]


def test_each_worker_has_a_state_and_what_it_did():
    """Events tell what is settled, the lease of a worker tells the rest until its last sign of life."""
    found = workers_of(state_of(ROWS), {"busy": lease(10, 130), "silent": lease(LEASE_S + 1, 7)})
    by_id = {each.worker: each for each in found}
    assert {name: each.state for name, each in by_id.items()} == {
        "old": "lost",
        "busy": "at work",
        "done": "left",
        "dead": "lost",
        "silent": "lost",
    }
    busy, done = by_id["busy"], by_id["done"]
    assert (busy.shards_settled, busy.shards_claimed, busy.rows) == (10, 20, 130)
    assert (busy.rows_per_s, busy.part_of_rates, busy.ended_at) == (1.6, 0.5, None)  # in 80 s
    assert (done.shards_settled, done.rows, done.rows_per_s) == (10, 40, 2.0)
    assert (done.host, done.joined_at[-14:], done.attempt) == ("h2", "03:04:16+00:00", 2)
    assert by_id["dead"].shards_claimed == 0


def test_the_table_shows_what_tells_workers_apart_and_their_sum():
    """It fits a terminal; columns that are the same for all are left out."""
    found = workers_of(state_of(ROWS), {"busy": lease(10, 130)})
    seen = RunWorkers(found, 20).to_dict()
    assert workers_text(seen["workers"], seen["all_workers"]) == (
        "5 workers, 1 at work; 20 of 4,096 shards settled; 170 rows, 1.6 rows/s; 50% of the rates"
    )
    names, rows = worker_rows(seen["workers"])
    assert {"attempt", "host", "rates"} <= set(names)
    assert [row["rates"] for row in rows] == ["", "50%", "", "", ""]
    mine = [each for each in seen["workers"] if each["worker"] == "busy"]
    names, rows = worker_rows(mine)
    assert names == ["worker", "state", "since", "settled", "claimed", "rows", "rows/s", "rates"]
    assert rows[0]["since"] == "03:04:15"
    assert workers_text(mine, seen["all_workers"]).startswith("1 worker on h1, 1 at work; 20 of")
