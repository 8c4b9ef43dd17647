"""The Python that BigQuery gets runs without etlkit, and does what the service does."""

import json
import linecache
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from etlkit import ConfigError, TransferJob
from etlkit.engine.transform_spec import TransformSpec
from etlkit.engine.user_modules import import_file
from etlkit.serving.envelope import Envelope
from etlkit.serving.python_udf import PythonUdf
from etlkit.serving.row_workers import outcome_of
from etlkit.serving.signature import Signature, parse_columns
from etlkit.testing import MemorySink, MemorySource

COLUMNS = "n INT64, d NUMERIC, at TIMESTAMP, b BYTES, x FLOAT64, tags ARRAY<INT64>, j JSON"
OWN = '''
"""An Etl that hides every name that the runtime could need."""
from __future__ import annotations

from datetime import datetime, timedelta
import json
import typing, base64 as decimal

from etlkit import EtlBase

math = threading = base64 = None
QUOTES = "it's \\'\\'\\' here"


class Etl(EtlBase):
    def before_action(self):
        self.step = timedelta(seconds=1.5)

    def transform_row(self, row: dict[str, typing.Any]):
        if row["n"] == 2:
            return None
        if row["n"] == 3:
            raise KeyError("three")
        row["later"] = row["at"] and row["at"] + self.step
        row["big"] = 2**60 + row["n"]
        row["text"] = json.dumps(row["j"])
        return [row, {"n": 0}] if row["n"] == 4 else row
'''
CALLS = [
    [n, "1.5", "2024-01-02T03:04:05.250Z", "AP8=", "NaN", ["9007199254740993"], {"a": 1}]
    for n in (1, 2, 3, 4)
] + [["9007199254740993", 3, None, None, 0.5, [], None]]


def spec_of(tmp_path, source):
    path = tmp_path / "own_transform.py"
    path.write_text(source)
    sys.modules.pop("own_transform", None)
    etl = import_file(path).Etl
    return TransformSpec(
        TransferJob(source=MemorySource([]), transform=etl, sink=MemorySink("replace"))
    )


def test_it_answers_as_the_service_does(tmp_path):
    """Types, fan-out, skips and errors: the same JSON, from a Python that cannot import etlkit."""
    spec = spec_of(tmp_path, OWN)
    columns = parse_columns(COLUMNS)
    udf = PythonUdf(spec, columns, "d.f", "us.c")
    names = [column.name for column in columns]
    rows = [json.dumps(dict(zip(names, call, strict=True))) for call in CALLS]
    code = (
        f"{udf.code()}\nimport sys\nsys.stdout.write('\\n'.join(etlkit_row(r) for r in {rows!r}))\n"
    )
    out = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    ).stdout
    etl, envelope = spec.make(), Envelope(columns, None)
    etl.before_action()
    for line, row in zip(out.splitlines(), Signature(columns).rows(CALLS), strict=True):
        reply = json.loads(envelope.reply(outcome_of(lambda row=row: etl.transform_row(row)))[0])
        answer = json.loads(line)
        if answer["error"] is not None:
            assert reply["error"].pop("message").startswith(answer["error"].pop("message"))
        assert answer == reply
    assert "own_transform" not in udf.create()


def test_the_statement(tmp_path):
    """Packages come with the version that is installed; the code survives its quotes."""
    source = OWN.replace("import json\n", "import json, urllib3\n")
    statement = PythonUdf(
        spec_of(tmp_path, source), parse_columns("n INT64"), "p.d.f", "us.c"
    ).create()
    assert 'runtime_version = "python-3.11"' in statement
    assert 'packages = ["urllib3==' in statement
    assert statement.startswith(
        "CREATE OR REPLACE FUNCTION `p`.`d`.`f`(`row` STRING)\nRETURNS STRING\n"
    )
    assert "LANGUAGE python\nWITH CONNECTION `us`.`c`\n" in statement


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("from etlkit.calls.http import HttpClient", "etlkit.calls.http"),
        ("from etlkit import HttpClient", "imports HttpClient of etlkit"),
        ("import etlkit", "write from etlkit import EtlBase"),
        ("from . import beside", "a module beside it"),
        ("import own_helper", "a module of yours"),
        ("import no_such_package", "not installed"),
        ("HERE = __file__", "__file__"),
    ],
)
def test_what_is_not_self_contained_is_refused(tmp_path, monkeypatch, line, reason):
    """The message names the line and the reason."""
    (tmp_path / "own_helper.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    spec = spec_of(tmp_path, OWN)
    # Only its text counts: some of these lines cannot be imported.
    Path(tmp_path, "own_transform.py").write_text(
        OWN.replace("\nimport json", f"\n{line}\nimport json")
    )
    linecache.checkcache()
    with pytest.raises(ConfigError, match=reason):
        PythonUdf(spec, parse_columns("n INT64"), "d.f", "us.c")


def test_other_hooks_are_refused(tmp_path):
    """BigQuery calls a function for one row, and awaits nothing."""
    source = OWN.replace("    def transform_row", "    async def transform_row").replace(
        "    def before_action", "    async def before_action"
    )
    with pytest.raises(ConfigError, match="async hooks"):
        PythonUdf(spec_of(tmp_path, source), parse_columns("n INT64"), "d.f", "us.c")


def test_values_are_those_of_a_transfer():
    """Arguments become native values; what cannot is the row's error and names its column."""
    rows = Signature(parse_columns(COLUMNS)).rows([*CALLS[:1], [True, *CALLS[0][1:]]])
    assert rows[0]["d"] == Decimal("1.5")
    assert rows[0]["at"] == datetime(2024, 1, 2, 3, 4, 5, 250_000, tzinfo=UTC)
    assert (rows[0]["tags"], rows[0]["b"]) == ([2**53 + 1], b"\x00\xff")
    assert (rows[1].column, "expected INT64" in rows[1].message) == ("n", True)
