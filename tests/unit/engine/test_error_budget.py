"""When failed rows end a run: mistakes in the code at once, too many errors soon."""

import pytest

from etlkit import EtlBase, TooManyRejectedError, TransformCodeError
from etlkit.api.job import TransferJob
from etlkit.api.run import RunRequest
from etlkit.engine.transfer import run_transfer
from etlkit.testing import MemorySink, MemorySource


def transfer(transform_row, count, **options):
    etl = type("Etl", (EtlBase,), {"transform_row": transform_row})
    sink = MemorySink("replace")
    source = MemorySource(
        [{"n": n, "text": None} for n in range(count)], {"n": "INT64", "text": "STRING"}
    )
    job = TransferJob(source=source, transform=etl, sink=sink, **options)
    return run_transfer(job, RunRequest("test")), sink


def misspelled(_self, row):
    return rwo  # noqa: F821 - the mistake


def lost_import(_self, row):
    import no_such_module_at_all  # noqa: F401

    return row


def lost_attribute(self, row):
    return self.client.ask(row)


def wrong_call(_self, row):
    def two(first, _second):
        return first

    return two(row)


def no_row(_self):
    return {}


@pytest.mark.parametrize("policy", ["skip", "reject"])
@pytest.mark.parametrize(
    ("transform_row", "message"),
    [
        (misspelled, "NameError: name 'rwo' is not defined"),
        (lost_import, "ModuleNotFoundError: No module named"),
        (lost_attribute, "AttributeError: 'Etl' object has no attribute 'client'"),
        (wrong_call, "missing 1 required positional argument: '_second'"),
        (no_row, "takes 1 positional argument but 2 were given"),
    ],
)
def test_a_mistake_in_the_code_ends_the_run(transform_row, message, policy):
    """At the first row, whatever `on_row_error` says: no row is to blame."""
    with pytest.raises(TransformCodeError, match=message) as caught:
        transfer(transform_row, 10, on_row_error=policy)
    assert "mistake in the code" in str(caught.value)
    assert caught.value.report.read == 0


def test_a_mistake_in_a_generator_ends_the_run_too():
    """The code of a generator runs when its rows are taken."""

    def parts(_self, row):
        yield row
        yield misspelled(_self, row)

    with pytest.raises(TransformCodeError, match="NameError"):
        transfer(parts, 3, on_row_error="skip")


def of_data(_self, row):
    return {"n": row["text"].upper()} if row["n"] == 3 else row


def of_type(_self, row):
    return {"n": row["n"] + row["text"]} if row["n"] == 3 else row


@pytest.mark.parametrize("transform_row", [of_data, of_type])
def test_a_value_that_lacks_something_is_an_error_of_its_row(transform_row):
    """`None.upper` and `1 + None` are matters of the data."""
    report, _ = transfer(transform_row, 10, on_row_error="skip")
    assert (report.written, report.skipped, report.row_errors) == (9, 1, 1)


def every(nth):
    def transform_row(_self, row):
        if row["n"] % nth == 0:
            raise ValueError("bad")
        return row

    return transform_row


@pytest.mark.parametrize("policy", ["skip", "reject"])
def test_more_than_one_row_in_twenty_ends_the_run_by_default(policy):
    """Early, and nothing is published."""
    with pytest.raises(TooManyRejectedError, match=r"max_rejected \(5 % by default\)") as caught:
        transfer(every(10), 20_000, on_row_error=policy)
    assert caught.value.report.read < 15_000
    report, _ = transfer(every(25), 5_000, on_row_error=policy)
    assert report.row_errors == 200


@pytest.mark.parametrize("policy", ["skip", "reject"])
def test_the_default_is_taken_of_at_least_a_hundred_rows(policy):
    """Five failed rows of ten are no proof, six are."""
    report, _ = transfer(every(2), 10, on_row_error=policy)
    assert report.row_errors == 5
    with pytest.raises(TooManyRejectedError):
        transfer(every(2), 12, on_row_error=policy)


@pytest.mark.parametrize(("num_bad", "ends"), [(10, False), (4000, True)])
@pytest.mark.parametrize("options", [{}, {"max_rejected": 0.05}])
def test_bad_rows_that_come_first_by_chance_do_not_end_a_run(num_bad, ends, options):
    """What no chance explains does, though there might be no other bad row."""

    def first_ones_are_bad(_self, row):
        if row["n"] < num_bad:
            raise ValueError("bad")
        return row

    if ends:
        with pytest.raises(TooManyRejectedError) as caught:
            transfer(first_ones_are_bad, 20_000, on_row_error="skip", **options)
        assert caught.value.report.read < 15_000
    else:
        report, _ = transfer(first_ones_are_bad, 20_000, on_row_error="skip", **options)
        assert report.skipped == num_bad


def test_a_share_that_is_a_little_too_large_is_found_when_every_row_has_its_outcome():
    """Chance explains it until then, and nothing is published."""
    with pytest.raises(TooManyRejectedError, match="60 rows failed") as caught:
        transfer(every(15), 900, on_row_error="skip")
    assert caught.value.report.read == 900


def test_no_limit_is_said_with_none():
    """Then any number of rows may fail."""
    report, _ = transfer(every(1), 500, on_row_error="skip", max_rejected=None)
    assert report.skipped == 500
