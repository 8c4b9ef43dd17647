import dataclasses

import pytest

from etlkit import ConfigError, HttpSink, SinkError
from etlkit.rows.columns import Column
from etlkit.variables.values import resolve


def sink(url="https://crm.example.com/v1/customers", **options):
    return HttpSink(url, name="crm.customers", **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "GET"}, "POST, PUT, PATCH, DELETE"),
        ({"batch_size": 0}, "batch_size"),
        ({"max_concurrency": 1.5}, "max_concurrency"),
        ({"rate_limit": "fast"}, "1800/min"),
        ({"errors_at": "items"}, "errors_at"),
        ({"success": {200, 503}}, "503 cannot mean"),
        ({"success": (401,)}, "401 cannot mean"),
        ({"responses": "answers"}, "dataset.table"),
        ({"headers": {"Host": "x"}}, "Host"),
        ({"url": "https://h/{id}", "batch_size": 2}, "batch_size=1"),
        ({"request": {"id": "{id}"}, "batch_size": 2}, "several rows"),
        ({"idempotency_key": "{id}", "batch_size": 2}, "batch_size=1"),
        ({"idempotency_key": "{id}", "idempotency_header": None}, "idempotency_header"),
        ({"idempotency_key": "id"}, "same for all rows"),
    ],
)
def test_a_wrong_description_is_refused_at_once(options, message):
    """It names the option and what is allowed."""
    with pytest.raises(ConfigError, match=message):
        sink(**options)
    with pytest.raises(ConfigError, match=r"dataset\.table"):
        HttpSink("https://h", name="customers")


def test_headers_are_not_in_its_repr():
    """A key that stands in a job is not printed with it."""
    assert "secret" not in repr(sink(headers={"X-Key": "secret"}))


def test_variables_are_escaped_in_the_address():
    """In names of tables they must be parts of names."""
    made = HttpSink(
        "https://h/$day$/{id}?of=$day$", name="crm.sent_$day$", responses="crm.answers_$day$"
    )
    values = resolve({"day": "a_b"}, queued_at=None, started_at=None)
    expanded, used = made.expand(values)
    assert used == {"day"}
    assert expanded.url == "https://h/a_b/{id}?of=a_b"
    assert (expanded.name, expanded.responses) == ("crm.sent_a_b", "crm.answers_a_b")
    slash = resolve({"day": "a/b?c"}, queued_at=None, started_at=None)
    assert sink("https://h/$day$").expand(slash)[0].url == "https://h/a%2Fb%3Fc"


def test_columns_that_requests_need_are_looked_for():
    """In the address, the template and the order."""
    made = sink(
        "https://h/{id}", request={"m": "{mail}"}, order_by=("who", "id"), idempotency_key="{at}"
    )
    needed = {"id", "mail", "who", "at"}
    for missing in needed:
        columns = [Column(name, "STRING") for name in needed - {missing}]
        with pytest.raises(SinkError, match=f"names {missing}"):
            made.check_columns(columns)


def test_a_request_can_be_shown_before_it_is_sent():
    """As it would be sent, secrets hidden."""
    made = sink(
        "https://h/v1/{id}?key=abc",
        method="PATCH",
        headers={"Authorization": "Bearer ${CRM}", "X-Key": "abc"},
        request={"name": "{name}"},
    )
    rows = [{"id": 7, "name": "é"}, {"id": 8, "name": "f"}]
    assert made.first_request(rows).splitlines() == [
        "PATCH https://h/v1/7?key=…",
        "Authorization: Bearer ${CRM}",
        "X-Key: …",
        "Content-Type: application/json",
        "Idempotency-Key: …",
        "",
        '{"name": "é"}',
    ]
    batch = dataclasses.replace(sink(), batch_size=2, request=lambda rows: {"n": len(rows)})
    assert batch.first_request([*rows, {}]).endswith('\n\n{"n": 2}')


def test_the_target_has_no_query():
    """It stands in the ledger and in reports."""
    assert sink("https://h/v1/{id}?key=abc").target == "POST https://h/v1/{id}"
