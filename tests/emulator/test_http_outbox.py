"""What an attempt leaves in the outbox, and what the next one makes of it."""

from datetime import UTC, datetime

import pytest

from etlkit import CallFailedError, RequestRefusedError
from etlkit.api.outcomes import Counts, Recovered, RejectedRow
from etlkit.api.run import Run, RunRecord, RunRequest, Settings
from etlkit.bigquery.client import Connection
from etlkit.bigquery.http_sink.bundle import ItemOutcome
from etlkit.bigquery.http_sink.outbox import Leftovers, Outbox
from etlkit.rows.columns import Column

COLUMNS = (Column("n", "INT64"), Column("tags", "STRING", "REPEATED"))


class Attempts:
    """The attempts at one run, each with an outbox of its own."""

    def __init__(self, connection, dataset):
        self.connection, self.dataset = connection, ("local", dataset)
        self.request = RunRequest("outbox")
        self.made, self.durable, self.run_id = [], [], None

    def start(self, *, fails=False):
        record = None
        if self.made:
            self.made[-1].close()
            record = RunRecord(self.run_id, "outbox", len(self.made), "")
        run = Run(self.request, record=record)
        self.run_id = run.run_id
        outbox = Outbox(
            self.connection, run, self.dataset, on_durable=self.durable.extend, fails=fails
        )
        outbox.open()
        self.made.append(outbox)
        return outbox


@pytest.fixture
def attempts(local_server, dataset):
    connection = Connection(Settings(environ=local_server.endpoints.environ()), job_prefix="outbox")
    connection.location = "US"
    made = Attempts(connection, dataset)
    yield made
    for outbox in made.made:
        outbox.close()
    connection.close()


def stage(outbox, *bundles):
    """Stage bundles of (row id, part, parts); gives their items."""
    staged = [[outbox.item(*each, {"n": 1}) for each in bundle] for bundle in bundles]
    outbox.stage(staged)
    outbox.staging.flush()
    return staged


def ids(bundles):
    return [[item.id for item in bundle] for bundle in bundles]


def single(*row_ids):
    return [(row_id, 0, 1) for row_id in row_ids]


def test_items_without_an_answer_are_left_as_they_were_sent(attempts):
    """Same text, same order, same request; what is accepted is not among them."""
    first = attempts.start()
    first.begin(COLUMNS)
    sent = stage(first, single("a", "b"), single("c"), single("d", "e"))
    assert sorted(attempts.durable) == [(name, 0) for name in "abcde"]
    first.record([ItemOutcome(item, 201) for item in sent[0]])
    second = attempts.start()
    assert second.leftovers().bundles == sent[1:]
    assert second.columns == COLUMNS
    assert second.count_accepted() == 2
    assert second.staging.recover().counts.written == 5


def test_a_bundle_is_cut_where_it_was_cut_although_a_row_of_it_is_rejected(attempts):
    """Row x became two rows in two requests, and was refused in the first one."""
    first = attempts.start()
    first.begin(COLUMNS)
    sent = stage(first, [("x", 0, 2)], [("x", 1, 2), *single("c", "d", "e")])
    first.record([ItemOutcome(sent[0][0], 422, error=RequestRefusedError("no", code="422"))])
    now = datetime.now(UTC)
    first.staging.reject([RejectedRow("x", "{}", "RequestRefusedError", "422", "no", 1, now)])
    first.staging.flush()
    left = attempts.start().leftovers()
    assert ids(left.bundles) == [[("c", 0)], [("d", 0), ("e", 0)]]
    assert (left.refused, left.undone) == ([], {})


def test_a_refused_row_that_was_not_handled_is_handed_over_again(attempts):
    """Once, with its error, however many of its parts were refused; it is not sent again."""
    first = attempts.start()
    first.begin(COLUMNS)
    (items,) = stage(first, [("x", 0, 3), ("x", 1, 3), ("x", 2, 3)])
    error = CallFailedError("it kept failing", code="500", attempts=8)
    first.record([ItemOutcome(item, 500, error=error) for item in items[:2]])
    left = attempts.start().leftovers()
    (refused,) = left.refused
    assert (refused.row_id, refused.num_parts) == ("x", 3)
    assert (type(refused.error), refused.error.code, refused.error.attempts) == (
        CallFailedError,
        "500",
        8,
    )
    assert left.bundles == []


@pytest.mark.parametrize("fails", [(True, False), (False, True)], ids=["then", "now"])
def test_a_row_that_ended_a_run_is_transformed_anew(attempts, fails):
    """It has no outcome for the engine; what the next attempt stages of it is another item."""
    first = attempts.start(fails=fails[0])
    first.begin(COLUMNS)
    (items,) = stage(first, single("a", "x"))
    first.record(
        [ItemOutcome(items[0]), ItemOutcome(items[1], 422, error=RequestRefusedError("no"))]
    )
    second = attempts.start(fails=fails[1])
    left = second.leftovers()
    assert (left.bundles, left.refused, left.undone) == ([], [], {"x": 1})
    recovered = left.correct(second.staging.recover())
    assert (recovered.counts.read, recovered.counts.written, list(recovered.ids())) == (1, 1, ["a"])
    assert [row["_etlkit_row_id"] for row in attempts.connection.select(recovered.query)] == ["a"]
    second.begin(COLUMNS)
    sent = stage(second, single("x"))
    third = attempts.start()
    assert third.leftovers().bundles == sent
    third.record([ItemOutcome(item) for item in sent[0]])
    assert third.count_accepted() == 2
    assert attempts.start().leftovers() == Leftovers()


def test_nothing_is_left_of_nothing():
    """A first attempt, and one that was killed before its first row."""
    left = Leftovers()
    recovered = Recovered(Counts(read=1))
    assert left.correct(recovered) is recovered
