"""Whole runs to an API, with their state in the local BigQuery."""

import json
import threading
from dataclasses import replace

import pytest

from etlkit import (
    ApiError,
    BigQuerySource,
    ConfigError,
    CountMismatchError,
    EtlBase,
    HttpSink,
    RequestRefusedError,
    RetryPolicy,
    SinkError,
    TooManyRejectedError,
    TransferJob,
    dry_run_job,
    preview_job,
    run_job,
)
from etlkit.api.run import Interrupted, Settings
from etlkit.bigquery.http_sink.outbox import Outbox
from etlkit.bigquery.storage.append_rows import Appender
from etlkit.testing import FaultPlan, FaultServer

KEY = "tok-made-up-0815"
QUICK = RetryPolicy(first_wait_s=0.01, max_wait_s=0.05, attempt_timeout_s=10)
WAIT_S = 60.0


class Etl(EtlBase):
    def transform_row(self, row):
        return row


class Spread(EtlBase):
    """Row 0 is left out, row 1 becomes two rows."""

    def transform_row(self, row):
        return [dict(row, part=part) for part in range(min(row["n"], 2) or 0)][: row["n"]]


class Crm:
    """An API that refuses some rows, and jobs that send to it.

    Attributes:
        answer: What it does; `take` at first.
        bad: Numbers of the rows that it refuses with 422.
        on_row: Called with each row that it gets.
    """

    def __init__(self, server, dataset, settings, run):
        self.server, self.dataset, self.settings, self.run_sql = server, dataset, settings, run
        self.answer = self.take
        self.bad, self.on_row = set(), lambda row: None

    def take(self, body):
        rows = body if isinstance(body, list) else [body]
        for row in rows:
            self.on_row(row)
        if any(row["n"] in self.bad for row in rows):
            return 422, {"error": {"message": f"cannot take it, {KEY}"}}
        return 201, {"id": rows[0]["n"] * 10}

    def job(self, num_rows=10, *, transform=Etl, job=None, **sink):
        options = {
            "headers": {"Authorization": "Bearer ${CRM_TOKEN}"},
            "max_concurrency": 2,
            "retry": QUICK,
            **sink,
        }
        return TransferJob(
            source=BigQuerySource(
                f"SELECT n, CONCAT('row ', CAST(n AS STRING)) AS name, n > 5 AS big "
                f"FROM UNNEST(GENERATE_ARRAY(0, {num_rows - 1})) AS n"
            ),
            transform=transform,
            sink=HttpSink(f"{self.server.url}/rows", name=f"{self.dataset}.crm", **options),
            name=f"crm_{self.dataset}",
            **(job or {}),
        )

    def run(self, job, **options):
        return run_job(job, settings=self.settings, **options)

    def sent(self):
        """The rows that the API has accepted, one for each time it did something."""
        bodies = self.server.accepted.values()
        rows = [row for body in bodies for row in (body if isinstance(body, list) else [body])]
        return sorted((row["n"], row.get("part", 0)) for row in rows)

    def numbers(self):
        return [n for n, _ in self.sent()]

    def rejects(self):
        return self.run_sql(
            "SELECT CAST(JSON_VALUE(source_row, '$.n') AS INT64), error_class, code, attempts "
            f"FROM {self.dataset}.crm_rejects ORDER BY 1"
        )

    def work_tables(self, run_id):
        found = self.run_sql("SELECT table_name FROM etlkit_work.INFORMATION_SCHEMA.TABLES")
        return sorted(name for (name,) in found if run_id in name)


@pytest.fixture
def crm(local_server, dataset, run):
    settings = Settings(environ={**local_server.endpoints.environ(), "CRM_TOKEN": KEY})
    made = Crm(None, dataset, settings, run)

    def item(body):
        rows = body if isinstance(body, list) else [body]
        return rows[0]["n"]

    def answer(body):
        return made.answer(body)

    with FaultServer(routes={"/rows": answer}, item_key=item) as server:
        made.server = server
        yield made


def test_every_row_is_sent_skipped_or_rejected(crm):
    """Report, API, rejected rows, answers and ledger agree; no work table is left, no key shown."""
    crm.bad = {3, 7}
    crm.server._fault_handler._plan = FaultPlan.by_item({"5": ["503", "429 retry-after=0"]})
    job = crm.job(
        transform=Spread,
        job={"on_row_error": "reject", "max_rejected": 4},
        responses=f"{crm.dataset}.answers",
    )
    report = crm.run(job)
    assert (report.read, report.written, report.skipped, report.rejected) == (10, 7, 1, 2)
    assert report.rows_published == 13
    assert crm.sent() == [(n, part) for n in (1, 2, 4, 5, 6, 8, 9) for part in range(min(n, 2))]
    assert set(crm.server.requests_by_key.values()) <= {1, 2, 3}
    assert crm.rejects() == [
        (3, "RequestRefusedError", "422", 1),
        (7, "RequestRefusedError", "422", 1),
    ]
    answers = crm.run_sql(
        f"SELECT run_id, CAST(JSON_VALUE(`row`, '$.n') AS INT64) AS n, part, status, "
        f"JSON_VALUE(answer, '$.id'), JSON_VALUE(`row`, '$.name') "
        f"FROM {crm.dataset}.answers ORDER BY n, part"
    )
    assert answers == [
        (report.run_id, n, part, 201, str(n * 10), f"row {n}") for n, part in crm.sent()
    ]
    assert report.calls == crm.server.calls
    assert report.retries >= 2
    ledger = crm.run_sql(
        f"SELECT state, mode, target, `read`, written, skipped, rejected, rows_published "
        f"FROM etlkit_work.runs WHERE run_id = '{report.run_id}'"
    )
    assert ledger == [("published", "http", f"POST {crm.server.url}/rows", 10, 7, 1, 2, 13)]
    assert crm.work_tables(report.run_id) == []
    everything = [
        report.to_json(),
        *map(str, crm.run_sql(f"SELECT * FROM {crm.dataset}.crm_rejects")),
    ]
    assert KEY not in " ".join(everything)
    assert "cannot take it, …" in report.first_errors[0]


def test_a_run_whose_rows_are_all_left_out_sends_nothing(crm):
    """It is recorded all the same."""
    assert crm.run(crm.job(1, transform=Spread)).skipped == 1
    assert crm.server.calls == 0


def test_rows_are_sent_in_batches(crm):
    """Full ones but for the last; a refused batch is halved until only the bad row is left."""
    crm.bad = {11}
    job = crm.job(25, batch_size=8, job={"on_row_error": "skip"}, request={"rows": "{rows}"})
    crm.answer = lambda body: crm.take(body["rows"])
    crm.server._item_key = lambda body: body["rows"][0]["n"]
    report = crm.run(job)
    assert (report.written, report.skipped) == (24, 1)
    sent = [body["rows"] for body in crm.server.accepted.values()]
    assert sorted(row["n"] for rows in sent for row in rows) == [n for n in range(25) if n != 11]
    assert sorted(map(len, sent)) == [1, 1, 2, 4, 8, 8]
    assert (report.calls, report.retries) == (3 + 1 + 6, 0)


def test_a_refused_row_ends_a_run_that_does_not_allow_it(crm):
    """What was accepted stays so; a resume with better code sends the rest, and nothing twice."""
    crm.bad = {4}
    job = crm.job(30)
    with pytest.raises(RequestRefusedError, match="422: cannot take it") as caught:
        crm.run(job)
    first = caught.value.report
    before = crm.numbers()
    assert first.state == "failed"
    assert set(before) < set(range(30))

    class Better(EtlBase):
        def transform_row(self, row):
            return dict(row, n=row["n"] + 100) if row["n"] == 4 else row

    resumed = crm.run(replace(job, transform=Better), resume=first.run_id, allow_code_change=True)
    assert (resumed.state, resumed.read, resumed.written) == ("published", 30, 30)
    assert crm.numbers() == [n for n in range(30) if n != 4] + [104]
    assert set(crm.server.requests_by_key.values()) == {1}


def test_rejected_rows_are_sent_again_when_asked(crm):
    """Under a new key: some APIs repeat their refusal to the old one."""
    crm.bad = {2, 4, 6}
    job = crm.job(job={"on_row_error": "reject", "max_rejected": 5})
    first = crm.run(job)
    crm.bad = {6}
    again = crm.run(job, retry_rejects=first.run_id)
    assert (again.read, again.written, again.rejected) == (3, 2, 1)
    assert crm.numbers() == [n for n in range(10) if n != 6]
    assert [n for n, *_ in crm.rejects()] == [6]


def test_too_many_refused_rows_end_the_run(crm):
    """Long before the last row."""
    crm.bad = set(range(2000))
    with pytest.raises(TooManyRejectedError, match="RequestRefusedError"):
        crm.run(crm.job(2000, job={"on_row_error": "reject", "max_rejected": 10}))
    assert crm.server.calls < 500


def test_a_refused_key_ends_the_run(crm):
    """No row is rejected for it, and the resume goes on where it ended."""
    is_right = threading.Event()
    crm.answer = lambda body: crm.take(body) if is_right.is_set() else (401, {})
    job = crm.job(job={"on_row_error": "reject"})
    with pytest.raises(ApiError, match="401: check the key") as caught:
        crm.run(job)
    assert crm.server.calls <= 4
    is_right.set()
    crm.server._answers.clear()  # this API forgets the keys of requests that it did not know
    report = crm.run(job, resume=caught.value.report.run_id)
    assert (report.written, report.rejected) == (10, 0)
    assert crm.numbers() == list(range(10))


def test_a_stop_sends_what_is_in_flight_and_a_resume_the_rest(crm):
    """The run ends as one that was interrupted, and no request is repeated."""
    runs = []
    crm.on_row = lambda row: runs[0].request_stop(2) if row["n"] == 20 else None
    job = crm.job(200)
    with pytest.raises(Interrupted) as caught:
        crm.run(job, on_start=runs.append)
    sent = len(crm.server.accepted)
    assert 0 < sent < 200
    report = crm.run(job, resume="last")
    assert report.run_id == caught.value.report.run_id
    assert crm.numbers() == list(range(200))
    assert set(crm.server.requests_by_key.values()) == {1}
    assert report.calls == 200 - sent


def test_no_row_is_sent_before_it_is_staged(crm, monkeypatch):
    """Else a kill would leave a row at the API of which no resume knows the key."""
    arrived, too_early = threading.Event(), []
    acknowledge = Appender._acknowledge

    def acknowledge_late(appender, response):
        if appender._table.table.startswith("out_"):
            too_early.append(arrived.wait(0.3))
        acknowledge(appender, response)

    crm.on_row = lambda row: arrived.set()
    monkeypatch.setattr(Appender, "_acknowledge", acknowledge_late)
    assert crm.run(crm.job()).written == 10
    assert too_early[0] is False
    assert arrived.is_set()


def test_a_put_goes_to_the_address_of_its_row(crm):
    """With its own body; a row without a value for the address is an error of that row."""

    class NoName(EtlBase):
        def transform_row(self, row):
            return dict(row, name=None if row["n"] == 1 else "a/b")

    crm.server._routes["/rows/a%2Fb"] = crm.answer
    job = crm.job(3, transform=NoName, method="PUT", request=lambda rows: {"n": rows[0]["n"]},
                  job={"on_row_error": "skip"})  # fmt: skip
    job = replace(job, sink=replace(job.sink, url=f"{crm.server.url}/rows/{{name}}"))
    report = crm.run(job)
    assert (report.written, report.skipped) == (2, 1)
    assert "column 'name': the row has no value" in report.first_errors[0]
    assert sorted(body["n"] for body in crm.server.accepted.values()) == [0, 2]


def test_what_cannot_work_is_refused_before_a_row_is_read(crm, run):
    """A missing key, dataset or column, and tables that hold something else."""
    no_key = replace(crm.settings, environ={**crm.settings.environ, "CRM_TOKEN": ""})
    with pytest.raises(ConfigError, match="CRM_TOKEN is not set"):
        run_job(crm.job(), settings=no_key)
    run(f"CREATE TABLE {crm.dataset}.other (run_id STRING)")
    for sink, message in (
        ({"responses": f"{crm.dataset}.other"}, "no table of answers"),
        ({"responses": "nowhere.answers"}, "does not exist"),
        ({"order_by": "customer"}, "names customer"),
    ):
        with pytest.raises(SinkError, match=message):
            crm.run(crm.job(**sink))
    with pytest.raises(ConfigError, match="an API sees each row at once"):
        crm.run(crm.job(job={"checks": ["SELECT 1 FROM {staged}"]}))
    assert crm.server.calls == 0


def test_a_dry_run_and_a_preview_send_nothing(crm):
    """They show how many requests there would be, and the first one without its key."""
    report = dry_run_job(crm.job(batch_size=4), settings=crm.settings, limit=10)
    text = "\n".join(report.changes)
    assert "at most 3 requests, one for each 4 rows" in text
    assert "Authorization: Bearer ${CRM_TOKEN}" in text
    shown = preview_job(crm.job(), settings=crm.settings, limit=2)
    assert shown.request.startswith(f"POST {crm.server.url}/rows\n")
    assert json.loads(shown.request.splitlines()[-1]) == {"n": 0, "name": "row 0", "big": False}
    assert KEY not in text + shown.request
    assert crm.server.calls == 0


def test_a_row_without_an_answer_is_not_published(crm, monkeypatch):
    """The audit counts the accepted rows themselves."""
    record = Outbox.record
    monkeypatch.setattr(
        Outbox, "record", lambda outbox, some: record(outbox, some[1:]) if some[1:] else None
    )
    with pytest.raises(CountMismatchError, match="the API has accepted"):
        crm.run(crm.job(max_concurrency=1))
