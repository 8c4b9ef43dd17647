from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import ClassVar

import pytest

from etlkit import (
    BigQuerySink,
    BigQuerySource,
    ConfigError,
    EtlBase,
    HttpSink,
    JsonlSource,
    TransferJob,
)
from etlkit.api.run import RunRequest
from etlkit.engine.reuse import attributes, plan_reuse, stable_text
from etlkit.engine.transform_spec import TransformSpec
from etlkit.rows.columns import parse_schema
from etlkit.testing import MemorySink, MemorySource

SOURCE = parse_schema({"uri": "STRING", "generation": "INT64", "note": "STRING"})


class Etl(EtlBase):
    columns = ("uri",)
    model = "small"
    seen: ClassVar = []

    def transform_row(self, row):
        return row


def job(**options):
    options = {"reuse": "uri, generation", "transform": Etl, **options}
    return TransferJob(
        source=options.pop("source", BigQuerySource("SELECT 1")),
        sink=options.pop("sink", BigQuerySink("d.t")),
        **options,
    )


def plan(request=None, **options):
    made = job(**options)
    return plan_reuse(made, TransformSpec(made), request or RunRequest("j"), SOURCE)


@pytest.mark.parametrize(
    ("reuse", "keys"),
    [
        ("uri, generation", ["uri", "generation"]),
        (["uri"], ["uri"]),
        (("note", "uri", "uri"), ["note", "uri"]),
        (True, ["uri"]),
    ],
)
def test_the_keys_are_what_the_job_says(reuse, keys):
    """As a text, as names, or as all columns that the transform reads."""
    found = plan(reuse=reuse)
    assert [column.name for column in found.keys] == keys
    assert [column.name for column in found.passing] == ["generation", "note"]


@pytest.mark.parametrize("reuse", [None, False])
def test_a_job_without_keys_keeps_nothing(reuse):
    """Nor does a run of rejected rows, whose source has other columns."""
    assert plan(reuse=reuse) is None
    assert plan(RunRequest("j", retry_of="r")) is None


@pytest.mark.parametrize("reuse", ["", " , ", [], 3, ["uri", 1], {"uri"}])
def test_keys_that_are_none_are_refused(reuse):
    """When the job is defined."""
    with pytest.raises(ConfigError, match="reuse="):
        job(reuse=reuse)


def test_a_key_that_the_source_does_not_have_is_refused():
    """Before anything is paid, with the columns that there are."""
    with pytest.raises(ConfigError, match="reuse names md5, but the source has only uri, gener"):
        plan(reuse="uri, md5")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sink": BigQuerySink("d.t", mode="append_direct")}, "mode append_direct"),
        ({"sink": HttpSink("https://h/rows", "d.api")}, "needs a BigQuerySink, not a HttpSink"),
        ({"sink": MemorySink()}, "needs a BigQuerySink, not a MemorySink"),
        ({"source": JsonlSource("rows.jsonl")}, "needs a BigQuerySource, not a"),
        ({"source": MemorySource([])}, "needs a BigQuerySource, not a MemorySource"),
        ({"reuse_days": 0}, "reuse_days=0"),
    ],
)
def test_what_cannot_keep_results_is_refused(options, message):
    """With the reason, when the job is defined."""
    with pytest.raises(ConfigError, match=message):
        job(**options)


@pytest.mark.parametrize(
    ("request_", "reuse", "message"),
    [
        (RunRequest("j", fresh=True), None, "needs a job that keeps results"),
        (RunRequest("j", reuse_across_code=True), None, "needs a job that keeps results"),
        (RunRequest("j", fresh=True, resume="last"), "uri", "begins a new run"),
    ],
)
def test_options_of_a_run_that_have_no_meaning_are_refused(request_, reuse, message):
    """Somebody expects something of them."""
    with pytest.raises(ConfigError, match=message):
        plan(request_, reuse=reuse)


def test_a_transform_that_is_in_no_file_is_refused():
    """Of a cell of a notebook nobody could tell whether it has changed."""
    with pytest.raises(ConfigError, match="written in a file, and <Etl> is not"):
        plan(transform=type("Etl", (Etl,), {"__module__": "nowhere"}))


def test_failed_rows_are_not_kept_as_skipped_ones():
    """Under `skip` nobody can tell the two apart."""
    assert plan(on_row_error="reject").keeps_skipped
    assert not plan(on_row_error="skip").keeps_skipped


def etl(**attributes):
    return type("Etl", (Etl,), {"__module__": __name__, **attributes})


def test_the_parameters_are_what_decides_the_result():
    """Keys, schema, and values of attributes; not how fast, and in whose name, calls are made."""
    same = [
        plan(),
        plan(reuse="generation, uri"),
        plan(max_concurrency=9, rate_limit="1/s", name="x", labels={"a": "b"}),
        plan(transform=etl(max_concurrency=8, batch_size=7, seen=[1])),
        plan(transform=partial(Etl)),
    ]
    other = [
        plan(reuse="uri"),
        plan(transform=etl(model="large")),
        plan(transform=etl(output_schema={"uri": "STRING"})),
        plan(on_schema_change="drop_columns"),
        plan(transform=lambda: _with(Etl(), model="huge")),
        plan(transform=lambda: _with(Etl(), labels=["cat"])),
    ]
    assert len({each.parameters for each in same}) == 1
    assert len({each.parameters for each in [same[0], *other]}) == len(other) + 1


def _with(made, **values):
    vars(made).update(values)
    return made


class Colour(Enum):
    RED = 1


@dataclass
class Feature:
    name: str
    most: int = 3


def test_texts_of_values_are_the_same_in_every_process():
    """No address, no order of a hash."""
    assert stable_text({"b": 1, "a": (None, True)}) == stable_text({"a": (None, True), "b": 1})
    assert stable_text({"x", "y", "z"}) == stable_text({"z", "y", "x"})
    assert stable_text(object()) == "builtins.object()"
    assert stable_text(Feature("a")).endswith("Feature(name='a', most=3)")
    different = [1, True, "1", 1.0, b"1", (1,), {1}, {1: 1}, None, Colour.RED, Feature("a")]
    assert len(set(map(stable_text, different))) == len(different)


def test_methods_and_properties_are_no_parameters():
    """They are code."""
    found = attributes(etl(size=property(lambda self: 1), make=staticmethod(dict)), None)
    assert found == {"columns": "builtins.tuple('uri')", "model": "'small'"}
