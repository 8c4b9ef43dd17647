"""`etlkit serve`, called by the local BigQuery's remote functions over real sockets."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Self

import pytest
import urllib3
import uvicorn

from etlkit import CallFailedError, EtlBase, RetryPolicy, TransferJob
from etlkit.calls.http import HttpClient
from etlkit.serving.function_sql import FunctionSql
from etlkit.serving.remote_function import RemoteFunction, ServiceOptions
from etlkit.serving.signature import parse_columns
from etlkit.serving.web import WebApp, listening
from etlkit.testing import FaultPlan, FaultServer, MemorySink, MemorySource, run_transform

WAIT_S = 60.0
QUICK = RetryPolicy(first_wait_s=0.01, max_wait_s=0.05, attempt_timeout_s=10)
TYPES = {
    "BOOL": "TRUE",
    "INT64": "-9007199254740993",
    "FLOAT64": "CAST('-inf' AS FLOAT64)",
    "NUMERIC": "NUMERIC '1.25'",
    "BIGNUMERIC": "BIGNUMERIC '1.0000000001'",
    "STRING": "'é\"猫'",
    "BYTES": r"b'\x00\xff'",
    "DATE": "DATE '2024-01-02'",
    "DATETIME": "DATETIME '2024-01-02 03:04:05.5'",
    "TIME": "TIME '03:04:05'",
    "TIMESTAMP": "TIMESTAMP '2024-01-02 03:04:05.123456+01'",
    "JSON": "JSON '{\"a\": [1, null]}'",
}


class Priced:
    """A job whose transform makes a call for each row, and what was seen of it."""

    def __init__(self, api: FaultServer) -> None:
        self.api = api
        self.seen: list[dict] = []
        self.hooks: list[str] = []
        priced = self

        class Etl(EtlBase):
            max_concurrency = 8

            def before_action(self):
                priced.hooks.append("before")
                self.client = HttpClient(api.url, service="price")

            def transform_row(self, row):
                priced.seen.append(row)
                if row["id"] == "bad":
                    raise ValueError("no such thing")
                if row["id"] == "skip":
                    return None
                answer = self.client.post_json("/price", {"id": row["id"]})
                row["price"] = answer["price"]
                return [row, row] if row["id"] == "twice" else row

            def after_action(self):
                priced.hooks.append("after")

        self.job = TransferJob(
            source=MemorySource([]), transform=Etl, sink=MemorySink("replace"), retry=QUICK
        )

    def calls(self) -> dict[str, int]:
        return dict(self.api.calls_by_item)


class Service:
    """The web service on a thread, as the command runs it on the main one."""

    def __init__(self, function: RemoteFunction, run) -> None:
        self.function = function
        self._run = run
        self._listener = listening("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        config = uvicorn.Config(
            WebApp(function, frozenset({"127.0.0.1"})), lifespan="off", log_config=None
        )
        self.server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self.server.run, kwargs={"sockets": [self._listener]}, daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.function.close(10)
        self._thread.join(WAIT_S)
        self._listener.close()

    def sql(self, dataset: str, **options) -> FunctionSql:
        return FunctionSql(
            name=f"{dataset}.f",
            signature=self.function.signature,
            endpoint=self.url,
            connection="us.etlkit",
            max_batching_rows=options.pop("rows", 50),
            output_schema=self.function.output_schema,
            source=self.function.source,
            **options,
        )

    def post(self, calls, request_id="r1", caller="//bq/job1", **more):
        """What BigQuery sends, by hand."""
        body = {"requestId": request_id, "caller": caller, "sessionUser": "a@b", "calls": calls}
        return urllib3.request(
            "POST", self.url, json={**body, **more}, retries=False, timeout=WAIT_S
        )

    def replies(self, *arguments, **options):
        response = self.post(*arguments, **options)
        assert response.status == 200, response.data
        return response.json()["replies"]


@pytest.fixture
def serve(run):
    """Serve a job until the test ends."""
    services = []

    def start(job, columns, **options) -> Service:
        function = RemoteFunction(job, parse_columns(columns), ServiceOptions(**options))
        services.append(Service(function, run).__enter__())
        return services[-1]

    yield start
    for service in services:
        service.__exit__()


@contextmanager
def priced(plan: FaultPlan | None = None, **options) -> Iterator[Priced]:
    """A priced API with faults, and the job that calls it."""
    with FaultServer(
        plan,
        routes={"/price": lambda body: {"price": len(body["id"])}},
        item_key=lambda body: body["id"],
        **options,
    ) as api:
        yield Priced(api)


def test_every_type_arrives_as_in_a_transfer_and_comes_back(run, dataset, serve):
    """What transform_row sees equals what a transfer gives it; what it returns equals what was sent."""
    names = [kind.lower() for kind in TYPES]
    columns = [f"c_{name} {kind}" for name, kind in zip(names, TYPES, strict=True)]
    columns += ["c_list ARRAY<NUMERIC>", "c_struct STRUCT<a INT64, b TIMESTAMP>"]
    values = ", ".join(f"{v} AS c_{name}" for name, v in zip(names, TYPES.values(), strict=True))
    more = "[NUMERIC '1.5', 2] AS c_list, "
    more += "STRUCT(1 AS a, TIMESTAMP '2024-01-02 00:00:00' AS b) AS c_struct"
    nulls = ", ".join(f"CAST(NULL AS {kind}) AS c_{kind.lower()}" for kind in TYPES)
    no_more = "CAST([] AS ARRAY<NUMERIC>) AS c_list, NULL AS c_struct"
    query = f"SELECT {values}, {more} UNION ALL SELECT {nulls}, {no_more}"
    seen = {}
    schema = dict(column.split(" ", 1) for column in columns)

    class Etl(EtlBase):
        output_schema = schema

        def transform_row(self, row):
            seen[row["c_bool"]] = dict(row)
            return row

    job = TransferJob(source=MemorySource([]), transform=Etl, sink=MemorySink("replace"))
    sql = serve(job, ", ".join(columns)).sql(dataset, query=query)
    run(sql.create())
    scalars = [column.split()[0] for column in columns if "<" not in column]
    same = " AND ".join(
        f"(TO_JSON_STRING(got.{name}) = TO_JSON_STRING(sent.{name}))" for name in scalars
    )
    rows = run(
        f"WITH got AS ({sql.example().rstrip().rstrip(';')}), sent AS ({query}) "
        f"SELECT got.ok, {same}, got.error_message, got.c_list, got.c_struct FROM got JOIN sent "
        "ON got.c_bool IS NOT DISTINCT FROM sent.c_bool ORDER BY sent.c_bool NULLS LAST"
    )
    assert [row[:3] for row in rows] == [(True, True, None)] * 2
    assert rows[0][-2] == ["1.5", 2]
    assert rows[0][-1] == {"a": 1, "b": "2024-01-02T00:00:00Z"}

    class Transfer(EtlBase):
        def transform_row(self, row):
            assert row == seen[row["c_bool"]]
            assert [type(v) for v in row.values()] == [
                type(v) for v in seen[row["c_bool"]].values()
            ]
            return row

    sent = [dict(row) for row in seen.values()]
    assert len(run_transform(Transfer, sent, schema=schema)) == 2


def test_rows_are_paid_once_and_a_bad_one_fails_alone(run, dataset, serve):
    """Through a storm of 429, each row is answered by its own; resends and repeats cost nothing."""
    script = ["429 retry-after=0", "503", "ok"] * 6
    with priced(FaultPlan.script(script)) as api:
        service = serve(api.job, "id STRING")
        sql = service.sql(dataset)
        run(sql.create())
        rows = run(
            f"WITH a AS (SELECT id, {dataset}.f(id) AS answer FROM "
            "UNNEST(['cat', 'bad', 'skip', 'twice', 'dog']) AS id) "
            "SELECT id, JSON_VALUE(answer, '$.ok'), JSON_QUERY(answer, '$.value'), "
            "JSON_VALUE(answer, '$.error.class') FROM a ORDER BY id"
        )
        found = {name: (ok, v, e) for name, ok, v, e in rows}
        twice = {"id": "twice", "price": 5}
        assert found == {
            "bad": ("false", None, "ValueError"),
            "cat": ("true", {"id": "cat", "price": 3}, None),
            "dog": ("true", {"id": "dog", "price": 3}, None),
            "skip": ("true", None, None),
            "twice": ("true", [twice, twice], None),
        }
        assert sorted(row["id"] for row in api.seen) == ["bad", "cat", "dog", "skip", "twice"]
        first = service.replies([["cat"], ["new"]], "r1")
        before = len(api.seen), api.calls()
        assert service.replies([["cat"], ["new"]], "r1") == first  # again after a 200
        assert (
            service.replies([["new"], ["cat"]], "r2") == first[::-1]
        )  # in another batch of the query
        assert (len(api.seen), api.calls()) == before
        service.replies([["cat"]], caller="//bq/job2")  # another query is another question
        assert len(api.seen) == before[0] + 1
        health = urllib3.request("GET", f"{service.url}health").json()
        assert (health["status"], health["rows_at_work"], health["retries"] > 0) == ("ok", 0, True)
    service.function.close(10)
    assert sorted(api.hooks) == sorted(["before", "after"] * api.hooks.count("before"))


class Gate:
    """A transform that waits until it is let go; each row says when it begins."""

    def __init__(self, max_concurrency: int = 1) -> None:
        self.begun: list[str] = []
        self.go = threading.Event()
        self.hooks: list[str] = []
        gate = self

        class Etl(EtlBase):
            def transform_row(self, row):
                gate.begun.append(row["id"])
                assert gate.go.wait(WAIT_S)
                return row

            def after_action(self):
                gate.hooks.append("after")

        self.job = TransferJob(
            source=MemorySource([]),
            transform=Etl,
            sink=MemorySink("replace"),
            max_concurrency=max_concurrency,
        )


def test_resends_at_the_same_time_wait_for_the_first_call(serve, until):
    """Two requests with the same rows at once: one call a row, the same replies."""
    gate = Gate(2)
    service = serve(gate.job, "id STRING")
    with ThreadPoolExecutor(2) as clients:
        both = [clients.submit(service.replies, [["a"], ["b"]], "r1") for _ in range(2)]
        until(lambda: len(gate.begun) == 2 and service.function.health()["requests"] == 2)
        gate.go.set()
        first, second = (each.result() for each in both)
    assert first == second
    assert [reply["value"] for reply in first] == [{"id": "a"}, {"id": "b"}]
    assert sorted(gate.begun) == ["a", "b"]


def test_load_is_shed_before_anything_is_paid(run, dataset, serve, until):
    """A request beyond the bound gets 429 and begins no row; BigQuery's repeat of it succeeds."""
    gate = Gate()
    service = serve(gate.job, "id STRING", max_waiting_rows=2)
    with ThreadPoolExecutor(3) as clients:
        waiting = clients.submit(service.replies, [["a"], ["b"], ["c"]])
        until(lambda: service.function.health()["rows_waiting"] == 2)
        shed = service.post([["d"]])
        assert (shed.status, "2 rows wait" in shed.json()["errorMessage"]) == (429, True)
        again = clients.submit(
            service.replies, [["c"], ["b"]], "r2"
        )  # known: there is room for them
        until(lambda: service.function.health()["requests"] == 3)
        run(service.sql(dataset).create())
        query = clients.submit(run, f"SELECT JSON_VALUE({dataset}.f('e'), '$.value.id')")
        gate.go.set()
        assert [each["ok"] for each in waiting.result()] == [True] * 3
        assert [each["value"]["id"] for each in again.result()] == ["c", "b"]
        assert query.result() == [("e",)]
    assert gate.begun == ["a", "b", "c", "e"]


def test_a_response_comes_in_time_and_the_late_row_is_paid_once(serve, until):
    """At the deadline rows without a result are errors to repeat; what had begun is not paid again."""
    gate = Gate()
    service = serve(gate.job, "id STRING", timeout_s=1)
    late, never = service.replies([["a"], ["b"]])
    for reply, what in ((late, "may be paid"), (never, "had not begun")):
        assert (reply["error"]["code"], reply["error"]["retryable"]) == ("deadline", True)
        assert what in reply["error"]["message"]
    gate.go.set()
    until(lambda: service.function.health()["rows_remembered"])
    assert service.replies([["a"]])[0]["value"] == {"id": "a"}
    assert gate.begun == ["a"]


def test_the_end_finishes_what_has_begun(serve, until):
    """While it drains: begun rows get their reply, others an error; unbegun requests go elsewhere."""
    gate = Gate()
    service = serve(gate.job, "id STRING")
    with ThreadPoolExecutor(2) as clients:
        begun = clients.submit(service.replies, [["a"], ["b"]])
        until(lambda: gate.begun == ["a"])
        unbegun = clients.submit(service.post, [["c"]], "r2")
        until(lambda: service.function.health()["rows_waiting"] == 2)
        service.function.drain()
        assert unbegun.result().status == 503
        assert service.post([["d"]]).status == 503
        closing = threading.Thread(target=service.function.close, args=(WAIT_S,))
        closing.start()
        gate.go.set()
        first, second = begun.result()
        closing.join(WAIT_S)
    assert first["value"] == {"id": "a"}
    assert (second["error"]["code"], second["error"]["retryable"]) == ("shutdown", True)
    assert (gate.begun, gate.hooks) == (["a"], ["after"])


@pytest.mark.parametrize("kind", ["batch", "async", "async batch"])
def test_other_hooks(serve, kind):
    """transform_batch and async hooks work as in a run: one bad row, a fan-out, a skipped row."""

    def made(row):
        if row["n"] == 1:
            return ValueError("one")
        return {2: None, 3: [row, row]}.get(row["n"], row)

    class Batches(EtlBase):
        batch_size = 2

        def transform_batch(self, rows):
            return [made(row) for row in rows]

    class Async(EtlBase):
        async def transform_row(self, row):
            result = made(row)
            if isinstance(result, Exception):
                raise result
            return result

    class AsyncBatches(EtlBase):
        async def transform_batch(self, rows):
            return [made(row) for row in rows]

    etl = {"batch": Batches, "async": Async, "async batch": AsyncBatches}[kind]
    job = TransferJob(source=MemorySource([]), transform=etl, sink=MemorySink("replace"))
    replies = serve(job, "n INT64").replies([[0], [1], [2], [3], [4]])
    values = [{"n": 0}, None, None, [{"n": 3}, {"n": 3}], {"n": 4}]
    assert [reply["value"] for reply in replies] == values
    assert [reply["ok"] for reply in replies] == [True, False, True, True, True]
    assert replies[1]["error"]["class"] == "ValueError"


def test_what_is_not_bigquerys_is_refused(serve):
    """Web pages, other hosts, other functions and broken requests get no row begun."""
    gate = Gate()
    service = serve(gate.job, "id STRING")
    kinds = {"content-type": "application/json"}
    body = json.dumps({"calls": [["a"]]}).encode()

    def status(body=body, method="POST", url=service.url, **headers):
        return urllib3.request(
            method, url, body=body, headers={**kinds, **headers}, retries=False, timeout=WAIT_S
        ).status

    assert status(origin="https://evil.example") == 403
    assert status(host="evil.example") == 403
    assert status(**{"content-type": "text/plain"}) == 415
    assert status(method="PUT") == 405
    assert status(method="GET", url=f"{service.url}secret") == 404
    assert [status(text) for text in (b"{", b"[]", b'{"calls": [1]}')] == [400] * 3
    wrong = service.post([["a", "b"]])
    assert (wrong.status, "takes id STRING" in wrong.json()["errorMessage"]) == (400, True)
    assert service.post([["a"]], userDefinedContext={"columns": "uri STRING"}).status == 400
    assert gate.begun == []


def test_errors_that_would_end_a_run_are_answers(serve):
    """A failing before_action, a mistake in the code, a key in a message, an exit: errors of rows."""
    state = {"is_up": False}

    class Etl(EtlBase):
        def before_action(self):
            if not state["is_up"]:
                raise OSError("no license")

        def transform_row(self, row):
            if row["n"] == 1:
                return undefined  # noqa: F821
            if row["n"] == 2:
                raise SystemExit(3)
            if row["n"] == 3:
                raise CallFailedError(
                    "https://x/?key=AIzaSyD-abcdefghijklmnopqrstuvwxyz01234", attempts=2
                )
            return {"n": row["n"], "blob": "x" * 9_000_000}

    job = TransferJob(source=MemorySource([]), transform=Etl, sink=MemorySink("replace"))
    service = serve(job, "n INT64")
    (failed,) = service.replies([[0]])
    assert "no license" in failed["error"]["message"]
    state["is_up"] = True
    replies = service.replies([[1], [2], [3], ["x"], [None], [0]])
    errors = [each["error"] for each in replies]
    assert [each and each["class"] for each in errors[:4]] == [
        "TransformCodeError", "JobError", "CallFailedError", "RowSchemaError",
    ]  # fmt: skip
    assert errors[2]["attempts"] == 2
    assert "AIza" not in json.dumps(errors)
    assert "--resume" not in json.dumps(errors)
    # 18 MB are more than BigQuery takes: one of the two gives way.
    assert sorted((each["error"] or {}).get("code") or "" for each in replies[4:]) == [
        "",
        "too_large",
    ]


def test_caps_hold_and_are_said(serve):
    """No call is made beyond max_calls, and later rows are refused without one."""
    with priced() as api:
        job = TransferJob(
            source=MemorySource([]), transform=api.job.transform, sink=MemorySink("replace"),
            max_calls=2, max_concurrency=1,
        )  # fmt: skip
        service = serve(job, "id STRING")
        replies = service.replies([["a"], ["b"], ["c"], ["d"]]) + service.replies([["e"]], "r2")
        assert [each["ok"] for each in replies] == [True, True, False, False, False]
        assert {each["error"]["class"] for each in replies[2:]} == {"CapReachedError"}
        assert api.calls() == {"a": 1, "b": 1}
