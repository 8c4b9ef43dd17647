"""The user's own line: a message names the innermost line of the user's files, not a library's.

`request.py:643` or `decoder.py:353` says nothing to the person who has to change a transform.
"""

import inspect
import json
import logging

import pytest

from etlkit import EtlBase, JobError, RetryPolicy, TransferJob, TransformCodeError, TransformError
from etlkit.api.run import RunRequest
from etlkit.api.user_errors import user_error_text, user_line
from etlkit.engine.transfer import run_transfer
from etlkit.engine.user_modules import import_file
from etlkit.errors import ApiError, ConfigError
from etlkit.testing import MemorySink, MemorySource, run_transform

HERE = "tests/bugs/test_messages_lines.py"


def line_of(function, text):
    """Where in this file a function has a line with this text."""
    lines, first = inspect.getsourcelines(function)
    return first + next(number for number, line in enumerate(lines) if text in line)


class Parses(EtlBase):
    def transform_row(self, row):
        return json.loads(row["text"])


@pytest.mark.edge_case(
    "a row for which `json.loads` raises in Python's own library",
    "message",
    "names the transform's own line, not `decoder.py`",
)
def test_a_row_error_names_the_users_line():
    """Not the line of the library that raised."""
    with pytest.raises(TransformError) as caught:
        run_transform(Parses, [{"text": "{"}])
    line = line_of(Parses.transform_row, "json.loads")
    assert str(caught.value).startswith("row 1 (id row-1): JSONDecodeError: ")
    assert str(caught.value).endswith(f" ({HERE}:{line})")


class Opens(EtlBase):
    def before_action(self):
        self.words = json.loads("[")

    def transform_row(self, row):
        return row


class Misconfigures(Opens):
    def before_action(self):
        self.policy = RetryPolicy(max_attempts=0)


@pytest.mark.parametrize(
    ("etl", "kind", "text"),
    [(Opens, JobError, "json.loads"), (Misconfigures, ConfigError, "Retry")],
)
def test_before_action_names_the_users_line(etl, kind, text):
    """Also where etlkit's own class raised."""
    with pytest.raises(kind, match="before_action failed: ") as caught:
        run_transform(etl, [{"n": 1}])
    assert f"({HERE}:{line_of(etl.before_action, text)})" in str(caught.value)
    assert "<string>" not in str(caught.value)


def test_a_factory_names_the_users_line():
    """It is called once before the run, to look at the class."""

    def make():
        return Parses(words=json.loads("["))

    with pytest.raises(
        ConfigError, match="the transform cannot be made: JSONDecodeError"
    ) as caught:
        run_transform(make, [{"n": 1}])
    assert str(caught.value).endswith(f"({HERE}:{line_of(make, 'Parses')})")


class MisconfiguresRow(EtlBase):
    def transform_row(self, row):
        return RetryPolicy(max_attempts=0)


def test_a_wrong_argument_in_a_row_names_the_users_line():
    """It ends the run, as every row would meet it."""
    with pytest.raises(ConfigError, match="max_attempts=0") as caught:
        run_transform(MisconfiguresRow, [{"n": 1}])
    line = line_of(MisconfiguresRow.transform_row, "RetryPolicy")
    assert str(caught.value).endswith(f"({HERE}:{line})")


def test_a_job_definition_names_the_users_line(tmp_path):
    """The generated `__init__` of a dataclass is called `<string>`, which nobody can open."""
    job = tmp_path / "wrong_job.py"
    job.write_text(
        "from etlkit import BigQuerySink\n\n\ndef sink():\n    return BigQuerySink('d.t', mode='ad')\n"
        "\n\nsink()\n"
    )
    with pytest.raises(ConfigError, match=r"mode='ad': .*wrong_job\.py:5\)$"):
        import_file(job)


def test_code_of_the_user_may_be_an_installed_package(tmp_path):
    """Then its line is the one that etlkit called, not that of the libraries below."""
    package = tmp_path / "site-packages" / "company"
    package.mkdir(parents=True)
    (package / "parse.py").write_text("import json\n\n\ndef parse():\n    json.loads('[')\n")
    parse = import_file(package / "parse.py").parse
    with pytest.raises(ValueError, match="Expecting") as caught:
        parse()
    error = caught.value
    error.__traceback__ = error.__traceback__.tb_next  # without this test's own frame
    assert user_line(error) == f"{package / 'parse.py'}:5"


def test_an_error_that_nobody_raised_has_no_line():
    """An exception object in a slot of `transform_batch` is one."""
    assert user_line(ValueError("x")) is None
    assert user_error_text(ValueError("x")) == "ValueError: x"
    assert user_error_text(ValueError()) == "ValueError"


class MuteError(Exception):
    """An exception that cannot say what it is about."""

    def __str__(self):
        raise RuntimeError("no text")


@pytest.mark.edge_case(
    "an exception of the transform whose `__str__` raises",
    "message",
    "its class is named; it is a row error as any other",
)
def test_an_exception_without_a_message_is_a_row_error():
    """Nothing that the transform raises breaks the engine."""

    class Raises(EtlBase):
        def transform_row(self, row):
            raise MuteError

    with pytest.raises(TransformError, match=r"row 1 .*: MuteError: its message cannot be shown"):
        run_transform(Raises, [{"n": 1}])


@pytest.mark.edge_case(
    "an exception that carries a body of 5 MB", "message", "cut at 2,000 characters"
)
def test_a_long_message_is_cut():
    """Some clients put the whole body of an answer into their exception."""
    text = user_error_text(ValueError("x" * 5_000_000))
    assert text.endswith("… (5,000,000 characters)")
    assert len(text) < 2100


class Refused(EtlBase):
    def transform_row(self, row):
        if row["n"] == 3:
            raise ApiError("the service refused", service="s", status=400)
        return row


class Mistaken(EtlBase):
    def transform_row(self, row):
        return nothing if row["n"] == 3 else row  # noqa: F821 - the mistake


class InBatches(EtlBase):
    batch_size = 4

    def transform_batch(self, rows):
        if rows[0]["n"] == 5:
            raise ApiError("the service refused", service="s", status=400)
        return rows


@pytest.mark.parametrize(
    ("etl", "kind", "place"),
    [
        (Refused, ApiError, "row 3 (id row-3): "),
        (Mistaken, TransformCodeError, "row 3 (id row-3): "),
        (InBatches, ApiError, "one of rows 5 to 8: "),
    ],
)
def test_an_error_that_ends_the_run_names_its_row(etl, kind, place):
    """Whoever looks for the cause looks at that row first."""
    with pytest.raises(kind) as caught:
        run_transform(etl, [{"n": n} for n in range(1, 13)], on_row_error="skip")
    assert str(caught.value).startswith(place)
    assert caught.value.report.error == str(caught.value)


@pytest.mark.parametrize("policy", ["skip", "reject"])
def test_debug_shows_the_chain_of_the_first_error_of_each_class(policy, caplog):
    """A row that is left out has no traceback elsewhere; thousands of them have none here."""

    class Chained(EtlBase):
        def transform_row(self, row):
            try:
                json.loads(row["text"])
            except ValueError as error:
                raise KeyError("no JSON") from error

    sink = MemorySink()
    source = MemorySource([{"text": "["}] * 3)
    job = TransferJob(
        source=source, transform=Chained, sink=sink, on_row_error=policy, allow_empty=True
    )
    with caplog.at_level(logging.DEBUG, logger="etlkit"):
        run_transfer(job, RunRequest("chained"))
    shown = [record for record in caplog.records if record.exc_info]
    assert len(shown) == 1
    assert "JSONDecodeError" in caplog.text
    assert "direct cause of the following exception" in caplog.text


@pytest.mark.edge_case(
    "`MemoryError` in a transform", "`on_row_error` skip or reject", "ends the run, with the row"
)
def test_running_out_of_memory_ends_the_run():
    """It is not the row's fault, and the next rows would be left out one by one."""

    class Hungry(EtlBase):
        def transform_row(self, row):
            if row["n"] == 2:
                raise MemoryError
            return row

    with pytest.raises(
        JobError, match=r"row 2 .*: out of memory: MemoryError .*--resume"
    ) as caught:
        run_transform(Hungry, [{"n": n} for n in range(1, 5)], on_row_error="skip")
    assert caught.value.report.row_errors == 0
