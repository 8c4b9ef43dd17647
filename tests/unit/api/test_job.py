import pytest

from etlkit import BigQuerySink, BigQuerySource, ConfigError, EtlBase, TransferJob
from etlkit.testing import MemorySink, MemorySource


class Etl(EtlBase):
    def transform_row(self, row):
        return row


def job(**changes):
    parts = {"source": MemorySource([]), "transform": Etl, "sink": MemorySink()}
    return TransferJob(**{**parts, **changes})


def test_a_job_is_frozen():
    """A job is a description; running it cannot change it."""
    with pytest.raises(AttributeError):
        job().on_row_error = "skip"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "SELECT 1"}, r"source=…\) got an object of type str.*BigQuerySource"),
        ({"source": MemorySource}, "got the class MemorySource"),
        ({"sink": "d.t"}, r"sink=…\) got an object of type str.*BigQuerySink"),
        ({"transform": Etl()}, "give the class itself, not an instance"),
        ({"transform": dict}, "needs a subclass of etlkit.EtlBase"),
        ({"on_row_error": "ignore"}, "it is one of 'fail', 'skip', 'reject'"),
        ({"max_concurrency": 0}, "it is a whole number, 1 or more"),
        ({"max_concurrency": "4"}, "max_concurrency=.4.: it is a whole number"),
        ({"max_rejected": [1]}, "it is a count"),
        ({"max_cost": "3"}, "max_cost=.3.: it is 0 or more"),
        ({"row_timeout_s": 0}, "row_timeout_s=0: it is above 0"),
    ],
)
def test_a_wrong_job_is_refused_with_the_allowed_values(changes, message):
    """Wrong values are refused before any I/O."""
    with pytest.raises(ConfigError, match=message):
        job(**changes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BigQuerySource("  "), "needs a query"),
        (lambda: BigQuerySink("table"), "write dataset.table"),
        (
            lambda: BigQuerySink("d.t", mode="upsert"),
            "it is one of 'append', 'append_direct', 'replace'",
        ),
        (lambda: BigQuerySink("a.b.c.d e/f"), "is not a table name"),
    ],
)
def test_a_wrong_bigquery_end_is_refused(make, message):
    """Wrong sources and sinks are refused before any I/O."""
    with pytest.raises(ConfigError, match=message):
        make()
