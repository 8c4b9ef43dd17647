"""A dry run: what a run would cost and change. Nothing is written, and no hook runs."""

import json

import pytest

from etlkit import ConfigError, EtlBase, TransferJob
from etlkit.api.run import RunRequest
from etlkit.engine.dry_run import dry_run_transfer
from etlkit.testing import MemorySink, MemorySource


class Paid(EtlBase):
    output_schema = {"n": "INT64", "label": "STRING(20)"}  # noqa: RUF012

    def before_action(self):
        raise AssertionError("a dry run calls no hook")

    def transform_row(self, row):
        return row


def job(etl=Paid, **options):
    return TransferJob(
        source=MemorySource([{"n": 1}]), transform=etl, sink=MemorySink("replace"), **options
    )


def test_it_tells_columns_calls_and_price():
    """Without rows nothing is counted, so the estimate is for 1,000 of them, or for the limit."""
    checked = job(price_per_unit=0.0015, rate_limit="1000/min")
    report = dry_run_transfer(checked, RunRequest("j"), 6.25)
    assert (report.state, report.job, report.target) == ("checked", "j", "memory (j)")
    assert (report.source_columns, report.columns) == (["n INT64"], ["n INT64", "label STRING(20)"])
    assert report.calls.startswith("for each 1,000 rows: ")
    assert "about 1,000 calls, 1,000 units" in report.calls
    assert "about 1.50 USD" in report.calls
    assert json.loads(report.to_json())["bytes_processed"] is None
    limited = dry_run_transfer(checked, RunRequest("j", limit=10), 6.25)
    assert limited.calls.startswith("at most: to transform: 10 rows")


def test_columns_that_only_rows_tell():
    """Without an `output_schema` they are not known."""
    etl = type("Etl", (Paid,), {"output_schema": None})
    assert dry_run_transfer(job(etl), RunRequest("j"), 6.25).columns is None


def test_columns_that_pass_through():
    """Those that the code does not touch, or that are not among the declared ones."""

    class Label(EtlBase):
        def transform_row(self, row):
            return {**row, "label": row["b"]}

    source = MemorySource([{"a": 1, "b": 2, "c": 3}])

    def passing(etl):
        checked = TransferJob(source=source, transform=etl, sink=MemorySink())
        return dry_run_transfer(checked, RunRequest("j"), 6.25).passing

    assert passing(Label) == ["a", "c"]
    assert passing(type("Etl", (Label,), {"columns": ("a", "b")})) == ["c"]
    dropped = {"a": "INT64", "b": "INT64", "label": "INT64"}
    declared = type("Etl", (Label,), {"columns": ("b",), "output_schema": dropped})
    assert passing(declared) == ["a"]
    assert passing(type("Etl", (Label,), {"transform_row": lambda _, row: dict(row)})) == []


def test_what_a_run_would_refuse_is_refused():
    """With the same sentence."""
    etl = type("Etl", (Paid,), {"columns": ("nope",)})
    with pytest.raises(ConfigError, match="the transform reads nope"):
        dry_run_transfer(job(etl), RunRequest("j"), 6.25)


def test_the_price_of_the_source(monkeypatch):
    """Bytes are BigQuery's estimate, the price is the caller's."""
    open_source = MemorySource.open

    def opened(self, *args):
        reader = open_source(self, *args)
        reader.num_bytes = 1024**4 // 2
        return reader

    monkeypatch.setattr(MemorySource, "open", opened)
    report = dry_run_transfer(job(), RunRequest("j"), 6.0)
    assert (report.bytes_processed, report.estimated_cost) == (1024**4 // 2, 3.0)
