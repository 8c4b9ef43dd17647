"""Messages of anything: whatever a transform raises, a person reads a sentence without a key.

`ETLKIT_FUZZ=5000` is the long form.
"""

import contextlib
import io
import json
import logging
import os

import click
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etlkit import ApiError, ConfigError, EtlBase, JobError, RetryableError, RowError, TransferJob
from etlkit.api.run import RunRequest
from etlkit.cli.invocation import invoke
from etlkit.cli.logs import configure_logging
from etlkit.engine.transfer import run_transfer
from etlkit.errors import EtlkitError
from etlkit.testing import MemorySink, MemorySource

EXAMPLES = int(os.environ.get("ETLKIT_FUZZ", "25"))
KEY = "s3cr3tS3cr3tS3cr3tS3cr3tS3cr3tS3cr3t"
SHAPES = (
    "https://h/x?key={}",
    "https://h/x?a=1&access_token={}&b=2",
    "Authorization: Bearer {}",
    "AIza{}",
    "https://h/x?sig={}#here",
)


class Odd(Exception):  # noqa: N818 - as a user may call it
    """An exception with a class of its own, whose message may not even be there."""

    def __init__(self, text):
        super().__init__(text)
        self.text = text

    def __str__(self):
        if not self.text:
            raise RuntimeError("no text")
        return self.text


class Hungry(MemoryError):  # noqa: N818 - as a user may call it
    """What numpy raises is a subclass of it."""


def api_error(text):
    return ApiError(text, service="geo", status=403, reason=text)


MAKERS = (
    ValueError, KeyError, TypeError, AttributeError, NameError, OSError, Hungry, Odd, RecursionError,
    UnicodeError, StopIteration, RowError, JobError, ConfigError, RetryableError, api_error,
    SystemExit,
)  # fmt: skip
PLACES = ("__init__", "before_action", "transform_row", "transform_batch", "slot", "after_action")

texts = st.builds(
    lambda before, shape, after: f"{before} {shape.format(KEY)} {after}",
    st.text(max_size=20),
    st.sampled_from(SHAPES),
    st.text(max_size=20),
)


def transform(place, error):
    """A transform that raises an error, or returns it in a slot."""

    def raises(*_):
        raise error

    def in_a_slot(_etl, rows):
        return [error, *rows[1:]]

    names = {"slot": {"transform_batch": in_a_slot}}.get(place, {place: raises})
    if "transform_batch" not in names:
        names = {"transform_row": lambda _, row: row, **names}
    return type("Etl", (EtlBase,), names)


def shown(error, arguments):
    """What the command line prints for an error, all of it."""

    @click.command()
    @click.option("--debug", is_flag=True)
    def fails(debug):
        configure_logging(logging.DEBUG if debug else logging.INFO, as_json="--json" in arguments)
        raise error

    with contextlib.redirect_stderr(io.StringIO()) as stream:
        assert invoke(fails, [a for a in arguments if a != "--json"], "fails") != 0
    return stream.getvalue()


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    text=texts,
    make=st.sampled_from(MAKERS),
    place=st.sampled_from(PLACES),
    policy=st.sampled_from(["fail", "skip", "reject"]),
)
def test_no_traceback_and_no_key_whatever_is_raised(text, make, place, policy):
    """In the error, the report, the rejects, the log, and on the terminal, also with --debug."""
    sink = MemorySink()
    error = make(text) if make is not Odd else Odd(text if len(text) % 2 else "")
    job = TransferJob(
        source=MemorySource([{"n": n} for n in range(4)]),
        transform=transform(place, error),
        sink=sink,
        on_row_error=policy,
        max_rejected=None,
        allow_empty=True,
    )
    ended = None
    try:
        report = run_transfer(job, RunRequest("fuzz"))
    except EtlkitError as raised:  # anything else is a fault of ours
        ended, report = raised, raised.report
    assert ended is not None or policy != "fail"
    for arguments in ([], ["--debug"], ["--json"]) if ended is not None else ():
        seen = shown(ended, arguments)
        assert KEY not in seen
        assert "--debug" in arguments or "Traceback" not in seen
    assert KEY not in str(ended)
    assert KEY not in report.to_json()
    assert all(KEY not in reject.message for reject in sink.rejects)


@pytest.mark.edge_case(
    "a key in the message of an exception, in any hook",
    "message, report, log, rejected rows",
    "replaced by `…`, also in tracebacks of `--debug`",
)
@pytest.mark.parametrize("as_json", [True, False])
def test_a_traceback_of_the_log_has_no_key(as_json, capsys):
    """`--debug` is what people paste into a chat."""
    configure_logging(logging.DEBUG, as_json=as_json)
    with pytest.raises(ValueError, match="key=") as caught:
        int(f"https://h/x?key={KEY}")
    logging.getLogger("etlkit").error("traceback:", exc_info=caught.value)
    seen = capsys.readouterr().err
    assert "ValueError" in seen
    assert KEY not in seen
    assert not as_json or json.loads(seen)["traceback"]
