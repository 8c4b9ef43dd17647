import pytest

from etlkit import ApiError, ConfigError, RetryableError, RowError
from etlkit.api.outcomes import Counts, classify, rows_of


def test_a_dict_is_written():
    """One dict is one row."""
    assert rows_of(classify({"a": 1})) == ({"a": 1},)


def test_none_is_skipped():
    """None skips the row and is not an error."""
    assert classify(None).rows == ()
    assert classify(None).error is None


@pytest.mark.parametrize("result", [[{"a": 1}, {"a": 2}], ({"a": i} for i in (1, 2))])
def test_an_iterable_of_dicts_fans_out(result):
    """Lists and generators both give several rows."""
    assert classify(result).rows == ({"a": 1}, {"a": 2})


@pytest.mark.parametrize(
    ("result", "kind"),
    [
        ("text", "a str"),
        (b"bytes", "a bytes"),
        (7, "a int"),
        (["text"], "a list of str"),
        ([{"a": 1}, "text"], "a list of str"),
    ],
)
def test_anything_else_names_its_type(result, kind):
    """A wrong result is a row error that names the type."""
    outcome = classify(result)
    assert outcome.rows == ()
    assert kind in str(outcome.error)
    assert "must return a dict" in str(outcome.error)


def test_an_error_inside_a_generator_is_that_rows_error():
    """A generator runs the user's code late; its errors are still those of the row."""

    def parts():
        yield {"a": 1}
        raise KeyError("b")

    outcome = classify(parts())
    assert outcome.rows == ()
    assert "KeyError: 'b'" in str(outcome.error)
    assert "test_outcomes.py:" in str(outcome.error)


def test_a_row_error_is_kept_as_it_is():
    """The user's own RowError keeps its class and column."""
    error = RowError("no", column="uri")
    assert classify(error).error is error


@pytest.mark.parametrize(
    "error",
    [
        ApiError("refused", service="vision"),
        RetryableError("busy"),
        ConfigError("no key"),
        KeyboardInterrupt(),
    ],
)
def test_an_outage_is_never_a_row_error(error):
    """An error that concerns every row ends the run instead of rejecting a million rows."""
    with pytest.raises(type(error)):
        classify(error)


def test_counts_add_up():
    """read = written + skipped + rejected, and parts count fan-out."""
    counts = Counts(read=3)
    for parts in (1, 0, 3):
        counts.add(parts)
    assert (counts.written, counts.skipped, counts.parts, counts.finished) == (2, 1, 4, 3)


def test_only_the_first_errors_are_kept():
    """A million errors do not fill the memory."""
    counts = Counts()
    for number in range(100):
        counts.add_error(RowError(f"e{number}"))
    assert counts.row_errors == 100
    assert counts.first_errors == ["e0", "e1", "e2", "e3", "e4"]
