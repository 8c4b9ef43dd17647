import pytest

from etlkit import BigQuerySource, EtlBase, TransferJob
from etlkit.engine.transform_spec import TransformSpec
from etlkit.testing import MemorySink


class Etl(EtlBase):
    def transform_row(self, row):
        return row


def fingerprint(source):
    """Of a job with this transform."""
    job = TransferJob(source=source, transform=Etl, sink=MemorySink())
    return TransformSpec(job).fingerprint(source)


SOURCE = BigQuerySource("SELECT n FROM d.t WHERE n > @low", {"low": 1})


@pytest.mark.parametrize(
    "other",
    [
        BigQuerySource("SELECT n FROM d.t WHERE n >= @low", {"low": 1}),
        BigQuerySource("SELECT n FROM d.t WHERE n > @low", {"low": 2}),
        BigQuerySource("SELECT n FROM d.t WHERE n > @low", {"low": "1"}),
        BigQuerySource("SELECT n FROM d.t WHERE n > @low", {"low": 1, "high": 9}),
    ],
    ids=["query", "value", "type of a value", "another parameter"],
)
def test_another_query_has_another_fingerprint(other):
    """So a run is not resumed with the rows of another question by accident."""
    assert fingerprint(other) != fingerprint(SOURCE)


def test_the_same_query_has_the_same_fingerprint():
    """In whatever order its parameters stand, and however it is billed."""
    one = BigQuerySource("SELECT @a, @b", {"a": 1, "b": 2})
    two = BigQuerySource("SELECT @a, @b", {"b": 2, "a": 1}, maximum_bytes_billed=10**9)
    assert fingerprint(one) == fingerprint(two)
