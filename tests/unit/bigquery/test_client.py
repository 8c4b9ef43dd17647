"""The connection: its channels, and what it says of a project's own rules."""

import grpc
import pytest
from google.api_core.exceptions import BadRequest, Forbidden, PreconditionFailed
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from etlkit import JobError, SinkError
from etlkit.api.run import Settings
from etlkit.bigquery.client import Connection, errors_as


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


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (
            Forbidden(
                "Billing has not been enabled for this project. DML queries are not allowed."
            ),
            "The project is a sandbox.*Enable billing",
        ),
        (BadRequest("DML queries are not allowed in the free tier."), "The project is a sandbox"),
        (
            PreconditionFailed("Constraint constraints/gcp.restrictNonCmekServices violated"),
            "keys of its own",
        ),
        (Forbidden("Access Denied: Table p:d.t"), "ask for access"),
    ],
)
def test_what_a_project_does_not_allow(error, hint):
    """BigQuery's sentence, then what to do about it."""
    with (
        pytest.raises(SinkError, match=rf"(?s)publishing failed: .*{hint}"),
        errors_as(SinkError, "publish", "publishing failed", {403: "ask for access"}),
    ):
        raise error


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
