import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from google.api_core.exceptions import BadRequest, Conflict
from google.cloud import bigquery

from tests.loopback import serving

CREATE = (
    "CREATE OR REPLACE FUNCTION {name}({arguments}) RETURNS {returns} "
    "REMOTE WITH CONNECTION `us.my-conn` OPTIONS(endpoint='{endpoint}'{more})"
)

BIG = 2**60


class Endpoint(ThreadingHTTPServer):
    """An endpoint on loopback: its `answer` gives status and body for a request's body."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[dict] = []
        self.answer = echo

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/f"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Endpoint

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.requests.append(request)
        status, body = self.server.answer(request)
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments) -> None:
        pass


def echo(request: dict) -> tuple[int, dict]:
    """Answer each call with its arguments as JSON text."""
    return 200, {"replies": [json.dumps(call) for call in request["calls"]]}


def first(request: dict) -> tuple[int, dict]:
    """Answer each call with its first argument."""
    return 200, {"replies": [call[0] for call in request["calls"]]}


@pytest.fixture(scope="module")
def server() -> Iterator[Endpoint]:
    with serving(Endpoint()) as endpoint:
        yield endpoint


@pytest.fixture
def endpoint(server: Endpoint) -> Endpoint:
    """The endpoint without recorded requests."""
    server.requests.clear()
    server.answer = echo
    return server


@pytest.fixture
def create(run, dataset, endpoint):
    """Create a remote function, and return its name."""

    def create_function(
        arguments: str = "n INT64", returns: str = "STRING", *, name: str = "f", more: str = ""
    ) -> str:
        name = f"{dataset}.{name}"
        run(
            CREATE.format(
                name=name, arguments=arguments, returns=returns, endpoint=endpoint.url, more=more
            )
        )
        return name

    return create_function


def test_a_call_is_one_request_of_bigquery_s_form(bq, create, endpoint):
    """It has requestId, caller, sessionUser, userDefinedContext and calls, with NULL as null."""
    f = create("s STRING, n INT64", more=', user_defined_context=[("mode", "fast")]')
    job = bq.query(
        f"SELECT {f}(IF(i = 1, 'a', NULL), IF(i = 1, 1, {BIG})) FROM UNNEST([1, 2]) AS i"
    )
    assert sorted(row[0] for row in job.result()) == ['["a", 1]', f'[null, "{BIG}"]']
    (request,) = endpoint.requests
    assert len(request.pop("requestId")) > 8
    assert request == {
        "caller": f"//bigquery.googleapis.com/projects/local/jobs/local:US.{job.job_id}",
        "sessionUser": "anonymous@bqemulator.local",
        "userDefinedContext": {"mode": "fast"},
        "calls": [["a", 1], [None, str(BIG)]],
    }


@pytest.mark.parametrize(
    ("kind", "value", "in_json"),
    [
        ("BOOL", "TRUE", True),
        ("INT64", "42", 42),
        ("INT64", "-9007199254740993", "-9007199254740993"),
        ("FLOAT64", "1.5", 1.5),
        ("FLOAT64", "CAST('-inf' AS FLOAT64)", "-Infinity"),
        ("NUMERIC", "NUMERIC '1.25'", "1.25"),
        ("NUMERIC", "NUMERIC '3'", 3),
        ("BIGNUMERIC", "BIGNUMERIC '1.0000000001'", "1.0000000001"),
        ("STRING", "'é\"'", 'é"'),
        ("BYTES", r"b'\x00\xff'", "AP8="),
        ("DATE", "DATE '2024-01-02'", "2024-01-02"),
        ("DATETIME", "DATETIME '2024-01-02 03:04:05.5'", "2024-01-02T03:04:05.500"),
        ("TIME", "TIME '03:04:05'", "03:04:05"),
        ("TIMESTAMP", "TIMESTAMP '2024-01-02 03:04:05.123456+01'", "2024-01-02T02:04:05.123456Z"),
        ("JSON", "JSON '{\"a\": [1, null]}'", {"a": [1, None]}),
    ],
)
def test_types_are_encoded_and_decoded_like_to_json_string(
    run, create, endpoint, kind, value, in_json
):
    """Each supported type is sent and read in BigQuery's JSON form; NULL stays NULL."""
    endpoint.answer = first
    f = create(f"x {kind}", kind)
    same = "TO_JSON_STRING({}) = TO_JSON_STRING({})" if kind == "JSON" else "{} = {}"
    ((is_same, null),) = run(f"SELECT {same.format(f'{f}({value})', value)}, {f}(NULL)")
    assert (is_same, null) == (True, None)
    calls = [call for request in endpoint.requests for call in request["calls"]]
    assert [in_json] in calls
    assert [None] in calls


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT {f}(n) FROM UNNEST([1, 2]) AS n WHERE {f}(n) = '[2]'", [("[2]",)]),
        ("WITH x AS (SELECT {f}(1) AS r) SELECT r FROM x", [("[1]",)]),
        ("SELECT COUNT(*) FROM UNNEST([1, 2]) AS n GROUP BY {f}(1)", [(2,)]),
        ("SELECT {f}(1) UNION ALL SELECT {f}(1)", [("[1]",), ("[1]",)]),
        ("SELECT {f}(LENGTH({f}(1)))", [("[3]",)]),
        (
            (
                "SELECT COALESCE(NULL, {f}(12345678901)), IF({f}(1) = '', '', {f}(12345678901)), "
                "CASE WHEN TRUE THEN CONCAT({f}(12345678901), '!') END"
            ),
            [("[12345678901]", "[12345678901]", "[12345678901]!")],
        ),
        ("SELECT {f}(@n)", [("[7]",)]),
        ("DECLARE n INT64 DEFAULT 3; SELECT {f}(n)", [("[3]",)]),
        ("EXECUTE IMMEDIATE 'SELECT {f}(?)' USING 4", [("[4]",)]),
        ("CREATE VIEW {d}.v AS SELECT {f}(1) AS r; SELECT r FROM {d}.v", [("[1]",)]),
        ("CREATE TABLE {d}.t AS SELECT {f}(1) AS r; SELECT r FROM {d}.t", [("[1]",)]),
        ("CREATE FUNCTION {d}.g(n INT64) AS (CONCAT({f}(n), '!')); SELECT {d}.g(1)", [("[1]!",)]),
        ("IF {f}(1) = '[1]' THEN SELECT 'yes'; END IF", [("yes",)]),
    ],
)
def test_it_can_be_called_wherever_an_expression_is_allowed(run, dataset, create, sql, rows):
    """It works in filters, CTEs, views, CREATE TABLE AS, SQL functions, scripts and with parameters."""
    parameters = [bigquery.ScalarQueryParameter("n", "INT64", 7)] if "@n" in sql else []
    sql = sql.format(f=create(), d=dataset)
    assert run(sql, query_parameters=parameters) == rows


def test_rows_are_sent_in_batches_of_at_most_the_given_size(run, create, endpoint):
    """max_batching_rows limits a request; replies belong to their rows in any order of answers."""
    f = create(more=", max_batching_rows=7")
    rows = run(f"SELECT n, {f}(n) FROM UNNEST(GENERATE_ARRAY(1, 100)) AS n ORDER BY n")
    assert rows == [(n, f"[{n}]") for n in range(1, 101)]
    sizes = [len(request["calls"]) for request in endpoint.requests]
    assert (max(sizes), sum(sizes)) == (7, 100)
    assert len({request["requestId"] for request in endpoint.requests}) == len(sizes)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_transient_status_is_retried(run, create, endpoint, status):
    """A request with a transient status is repeated until the endpoint answers."""
    endpoint.answer = lambda request: (
        echo(request) if len(endpoint.requests) == 3 else (status, {"errorMessage": "later"})
    )
    assert run(f"SELECT {create()}(1)") == [("[1]",)]
    assert len(endpoint.requests) == 3


def test_retries_end_after_twenty_attempts(run, create, endpoint):
    """Like BigQuery, it makes 20 attempts; then the server answers other clients."""
    endpoint.answer = lambda _: (503, {"errorMessage": "busy for good"})
    with pytest.raises(BadRequest, match=r"response code 503 .*: busy for good"):
        run(f"SELECT {create()}(1)")
    assert len(endpoint.requests) == 20
    assert run("SELECT 1") == [(1,)]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((400, {"errorMessage": "no such thing"}), "response code 400 from .*: no such thing"),
        ((302, {}), "response code 302"),
        ((200, {"replies": ["a", "b"]}), "gave 2 replies to 1 calls"),
        ((200, {"replies": []}), "gave 0 replies to 1 calls"),
        ((200, {"replies": "a"}), 'not a JSON object with "replies"'),
        ((200, b"<html>"), 'not a JSON object with "replies"'),
        ((200, {"replies": [1]}), "Failed to coerce output value 1 to type STRING"),
        ((200, b" " * (15 * 1024 * 1024 + 1)), "larger than 15,728,640 bytes"),
    ],
)
def test_a_wrong_answer_is_reported_and_not_retried(run, create, endpoint, answer, message):
    """Other statuses, wrong numbers or types of replies, bad JSON and large answers are not retried."""
    endpoint.answer = lambda _: answer
    with pytest.raises(BadRequest, match=message):
        run(f"SELECT {create()}(1)")
    assert len(endpoint.requests) == 1


def test_arguments_of_a_row_are_limited(run, create, endpoint):
    """A row with more than 5 MB is refused before anything is sent."""
    f = create("s STRING")
    with pytest.raises(BadRequest, match="a remote function takes at most 5,242,880"):
        run(f"SELECT {f}(REPEAT('x', 6000000))")
    assert endpoint.requests == []


def test_scripts_can_catch_its_errors(run, create, endpoint):
    """The message of the endpoint is in @@error.message."""
    endpoint.answer = lambda _: (400, {"errorMessage": "no such thing"})
    f = create()
    ((message,),) = run(
        f"BEGIN SELECT {f}(1); EXCEPTION WHEN ERROR THEN SELECT @@error.message AS m; END"
    )
    assert message.endswith("no such thing")


def test_a_dry_run_makes_no_call(bq, create, endpoint):
    """A dry run of a query or of the CREATE statement does not call the endpoint."""
    f = create()
    job = bq.query(f"SELECT {f}(1) AS r", bigquery.QueryJobConfig(dry_run=True))
    assert [field.field_type for field in job.schema] == ["STRING"]
    assert endpoint.requests == []


@pytest.mark.parametrize(
    ("arguments", "returns", "options", "message"),
    [
        (
            "n INT64",
            "STRING",
            "endpoint='https://example.com/'",
            "calls only endpoints on this machine",
        ),
        (
            "n INT64",
            "STRING",
            "endpoint='http://127.0.0.1.evil.io/'",
            "calls only endpoints on this machine",
        ),
        (
            "n INT64",
            "STRING",
            "endpoint='file:///etc/passwd'",
            "calls only endpoints on this machine",
        ),
        ("n INT64", "STRING", "max_batching_rows=1", "needs option endpoint"),
        ("n INT64", "STRING", "endpoint='http://localhost:1/', n=1", "Unknown option: n"),
        (
            "n ARRAY<INT64>",
            "STRING",
            "endpoint='http://localhost:1/'",
            "does not support type ARRAY",
        ),
        ("n INT64", "STRUCT<a INT64>", "endpoint='http://localhost:1/'", "not support type STRUCT"),
    ],
)
def test_a_wrong_statement_is_refused(run, dataset, arguments, returns, options, message):
    """Endpoints on other machines, unsupported types and unknown options are named."""
    with pytest.raises(BadRequest, match=message):
        run(
            f"CREATE FUNCTION {dataset}.f({arguments}) RETURNS {returns} "
            f"REMOTE WITH CONNECTION us.c OPTIONS({options})"
        )


def test_a_service_of_the_server_s_own_process_can_be_called(run, dataset, local_server):
    """A statement that calls the Vision stand-in does not wait for itself."""
    sql = CREATE.format(
        name=f"{dataset}.f", arguments="n INT64", returns="STRING",
        endpoint=f"{local_server.endpoints.vision}/nothing", more="",
    )  # fmt: skip
    run(sql)
    with pytest.raises(BadRequest, match="Received response code 404 from endpoint"):
        run(f"SELECT {dataset}.f(1)")


def test_no_server_at_the_endpoint(run, dataset):
    """A refused connection is reported without retries."""
    sql = CREATE.format(
        name=f"{dataset}.f", arguments="n INT64", returns="STRING",
        endpoint="http://127.0.0.1:1/", more="",
    )  # fmt: skip
    run(sql)
    with pytest.raises(BadRequest, match="No server listens at endpoint"):
        run(f"SELECT {dataset}.f(1)")


def test_the_resource_of_the_routine_and_its_jobs(bq, run, dataset, create, endpoint):
    """`routines.get` shows its options, and jobs report what OR REPLACE and IF NOT EXISTS did."""
    f = create(more=", max_batching_rows=5, user_defined_context=[('k', 'v')]")
    options = bq.get_routine(f).remote_function_options
    assert (options.endpoint, options.connection) == (endpoint.url, "local.us.my-conn")
    assert (options.max_batching_rows, options.user_defined_context) == (5, {"k": "v"})
    sql = CREATE.format(
        name=f, arguments="n INT64, m INT64", returns="STRING", endpoint=endpoint.url, more=""
    )
    with pytest.raises(Conflict, match=f"Already Exists: Routine local:{f}"):
        run(sql.replace("OR REPLACE ", ""))
    for words, operation in (
        ("OR REPLACE FUNCTION", "REPLACE"),
        ("FUNCTION IF NOT EXISTS", "SKIP"),
    ):
        job = bq.query(sql.replace("OR REPLACE FUNCTION", words))
        job.result()
        assert (job.statement_type, job.ddl_operation_performed) == ("CREATE_FUNCTION", operation)
        assert str(job.ddl_target_routine) == f"local.{f}"
    assert run(f"SELECT {f}(1, 2)") == [("[1, 2]",)]
    run(f"DROP FUNCTION {f}")
    with pytest.raises(BadRequest, match="Function not found"):
        run(f"SELECT {f}(1, 2)")


def test_it_is_deleted_with_its_dataset(bq, run, dataset, create, endpoint):
    """After its dataset was deleted and created again, the function can be created again."""
    f = create()
    assert run(f"SELECT {f}(1)") == [("[1]",)]
    for _ in range(3):
        bq.delete_dataset(dataset, delete_contents=True)
        bq.create_dataset(dataset)
        create("s STRING", more=", max_batching_rows=1")
        assert run(f"SELECT {f}('x')") == [('["x"]',)]


def test_a_function_without_arguments(run, create, endpoint):
    """It is called once per row, without arguments."""
    f = create("")
    assert run(f"SELECT {f}() FROM UNNEST([1, 2]) AS n") == [("[]",), ("[]",)]


@pytest.mark.parametrize("call", ["{f}()", "{f}('a')", "local.{f}(1, 2)", "`{f}`(TRUE)"])
@pytest.mark.parametrize("script", ["SELECT {call}", "BEGIN SELECT {call}; END"])
def test_a_wrong_call_is_refused_with_the_signature(run, create, endpoint, call, script):
    """Nothing is sent to the endpoint."""
    f = create()
    with pytest.raises(BadRequest, match=rf"Signature: (local\.)?{f}\(INT64\)"):
        run(script.format(call=call.format(f=f)))
    assert endpoint.requests == []


def test_it_can_be_created_over_rest(bq, run, dataset, endpoint):
    """`routines.insert` accepts remoteFunctionOptions."""
    kinds = bigquery.StandardSqlTypeNames
    routine = bigquery.Routine(
        f"local.{dataset}.f",
        type_="SCALAR_FUNCTION",
        arguments=[
            bigquery.RoutineArgument(name="n", data_type=bigquery.StandardSqlDataType(kinds.INT64))
        ],
        return_type=bigquery.StandardSqlDataType(kinds.STRING),
        remote_function_options=bigquery.RemoteFunctionOptions(
            endpoint=endpoint.url, connection="local.us.c", max_batching_rows=3
        ),
    )
    assert bq.create_routine(routine).remote_function_options.max_batching_rows == 3
    assert run(f"SELECT {dataset}.f(4)") == [("[4]",)]
