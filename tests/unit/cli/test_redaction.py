import json
import logging

import pytest

from etlkit import EtlBase, JobError, TransformError
from etlkit.cli.logs import JsonFormatter, RedactingFormatter
from etlkit.errors import without_keys
from etlkit.testing import run_transform

URL = "https://vision.googleapis.com/v1/images:annotate?key=s3cret-Key&x=1"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"Max retries exceeded with url: {URL}", None),
        ("/v1/images:annotate?alt=json&key=自分のキー (found at least ' ')", None),
        ("'https://h/x?sig=abc%2Fdef' and <https://h/y?access_token=abc>", None),
        ("Authorization: Bearer abcdefgh.ijk-l", None),
        ("key AIza" + "Sy" * 16 + "x was refused", None),
        (f"404 GET http://127.0.0.1:1234/{'abc0' * 8}/bigquery/v2/projects/p: no", None),
        (f"http://localhost/{'abc0' * 8}", None),
        (f"Max retries exceeded with url: /{'abc0' * 8}/upload/bigquery/v2/projects", None),
        (f"see https://h/{'abc0' * 8}/x", f"see https://h/{'abc0' * 8}/x"),
        ("a monkey=1 and ?page=2&keys=3", "a monkey=1 and ?page=2&keys=3"),
        ("column 'key': bearer of news", "column 'key': bearer of news"),
    ],
)
def test_keys_are_taken_out_and_nothing_else(text, expected):
    """Keys and tokens are removed; addresses stay."""
    cleaned = without_keys(text)
    if expected is not None:
        assert cleaned == expected
    else:
        assert "…" in cleaned
        for secret in ("s3cret", "自分", "abc", "SySy"):
            assert secret not in cleaned


def test_messages_of_a_users_exceptions_hold_no_keys():
    """Row errors go into logs, reports, the ledger and tables of rejected rows."""

    class InRow(EtlBase):
        def transform_row(self, row):
            raise ValueError(f"no answer from {URL}")

    class Before(InRow):
        def before_action(self):
            raise ValueError(f"no answer from {URL}")

    for etl, kind in ((InRow, TransformError), (Before, JobError)):
        with pytest.raises(kind, match=r"no answer from https://vision.*\?key=…&x=1") as caught:
            run_transform(etl, [{"n": 1}])
        assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("formatter", [RedactingFormatter("%(message)s"), JsonFormatter()])
def test_log_lines_hold_no_keys_in_either_format(formatter):
    """Neither the message nor the traceback has a key."""
    error = ValueError(f"no answer from {URL}")
    trace = (ValueError, error, None)
    record = logging.LogRecord("etlkit", logging.ERROR, "x.py", 1, "asked %s", (URL,), trace)
    line = formatter.format(record)
    assert "s3cret" not in line
    assert line.count("?key=…&x=1") == 2
    if isinstance(formatter, JsonFormatter):
        assert json.loads(line)["traceback"].startswith("ValueError: no answer")
