"""The connection: its channels, and where its work dataset is."""

import grpc
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from etlkit import JobError
from etlkit.api.run import Settings
from etlkit.bigquery.client import Connection


@pytest.fixture
def cloud(monkeypatch):
    """A connection to Google Cloud itself, which nobody calls."""
    made = Connection(
        Settings(project="p", environ={"BIGQUERY_EMULATOR_HOST": "http://127.0.0.1:1"}),
        job_prefix="etlkit_test",
    )
    made._emulator = None
    monkeypatch.setattr(made.client, "_credentials", AnonymousCredentials())
    yield made
    made.close()


@pytest.mark.parametrize("kind", ["reader", "writer"])
def test_real_channels_notice_a_dead_connection(cloud, monkeypatch, kind):
    """They ask a silent server whether it is there, and take large messages, as local ones do."""
    seen = []
    plain = grpc.secure_channel

    def secure_channel(target, *args, options=(), **more):
        seen.append((target, dict(options)))
        return plain(target, *args, options=options, **more)

    monkeypatch.setattr(grpc, "secure_channel", secure_channel)
    getattr(cloud, kind)()
    ((target, options),) = seen
    assert target == "bigquerystorage.googleapis.com:443"
    assert options["grpc.keepalive_time_ms"] == 60_000
    assert options["grpc.max_receive_message_length"] == 128 * 1024 * 1024


def test_a_work_dataset_elsewhere(cloud, monkeypatch):
    """It is refused before a table is made in it, in any spelling of the location."""
    dataset = bigquery.Dataset("p.work")
    dataset.location = "asia-northeast1"
    monkeypatch.setattr(cloud, "find_dataset", lambda _: dataset)
    cloud.location = "ASIA-NORTHEAST1"
    cloud.make_dataset("p.work")
    cloud.location = "EU"
    with pytest.raises(JobError, match=r"p\.work is in asia-northeast1, this run is in EU"):
        cloud.make_dataset("p.work")
