import pytest

from etlkit.testing import FaultServer, run_transform
from transforms.vision_client import Etl
from transforms.vision_wide import Etl as Wide

ROWS = [{"uri": f"gs://photos/{number}.jpg", "size": 7} for number in range(20)]


@pytest.fixture
def vision(monkeypatch):
    """Vision's gRPC on loopback."""
    with FaultServer() as server:
        monkeypatch.setenv("ETLKIT_VISION_GRPC_ENDPOINT", server.grpc_endpoint)
        yield server


def test_labels_become_a_column(vision):
    """Each photo's own labels; 20 photos are two calls; other columns stay."""
    rows = run_transform(Etl, ROWS)
    assert [
        row["response"]["responses"][0]["labelAnnotations"][0]["description"] for row in rows
    ] == [FaultServer.label_of(row["uri"]) for row in ROWS]
    assert [row["size"] for row in rows] == [7] * 20
    assert vision.calls == 2


def test_labels_become_columns(vision):
    """One label is one pair of cells, and the other two pairs are empty."""
    rows = run_transform(Wide, ROWS)
    assert [tuple(row.values()) for row in rows] == [
        (row["uri"], FaultServer.label_of(row["uri"]), 0.75, None, None, None, None) for row in ROWS
    ]
