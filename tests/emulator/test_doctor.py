"""`etlkit doctor --local` on this machine, which can run everything."""

import pytest

from etlkit.cli.root import main


@pytest.fixture
def environ(local_server, monkeypatch):
    """An environment that leads to the local server, as other programs are given it."""
    for name, value in local_server.endpoints.environ().items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_a_machine_that_is_well(local_server, capsys):
    """The local BigQuery answers; the exit status is 0."""
    assert main(["doctor", "--local", "--local-dir", str(local_server.local_dir)]) == 0
    out = capsys.readouterr().out
    assert "local BigQuery" in out
    assert "5 checks, nothing wrong" in out


def test_vision_elsewhere_does_not_concern_the_local_bigquery(local_server, capsys, monkeypatch):
    """The credentials of this machine are then those of Vision, and may be missing."""
    monkeypatch.setenv("ETLKIT_VISION_ENDPOINT", "https://eu-vision.googleapis.com")
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    assert main(["doctor", "--local", "--local-dir", str(local_server.local_dir)]) == 0
    assert "nothing wrong" in capsys.readouterr().out


def test_a_folder_that_cannot_be_used(tmp_path, capsys):
    """The exit status is 1, and the folder is named."""
    (tmp_path / "file").write_text("")
    assert main(["doctor", "--local", "--local-dir", str(tmp_path / "file" / "x")]) == 1
    assert f"{tmp_path / 'file'} is not a folder" in capsys.readouterr().out


def test_a_folder_in_which_no_file_can_be_made(capsys):
    """Root may write everywhere, so only trying tells. Nobody waits for a lock that cannot be taken."""
    assert main(["doctor", "--local", "--local-dir", "/proc"]) == 1
    assert "no file can be made in /proc" in capsys.readouterr().out
    for command in (["local", "sql", "SELECT 1"], ["runs", "--local"]):
        assert main([*command, "--local-dir", "/proc"]) == 2
        assert "no file can be made in /proc" in capsys.readouterr().err


def test_an_emulator_that_runs_are_sent_to(environ, local_server, capsys):
    """It is asked in the place of Google Cloud, and no token is shown."""
    assert main(["doctor", "--project", "local"]) == 0
    out = capsys.readouterr().out
    assert "BIGQUERY_EMULATOR_HOST is set: runs go to http://127.0.0.1:" in out
    assert "unset BIGQUERY_EMULATOR_HOST ETLKIT_BIGQUERY_GRPC_ENDPOINT" in out
    assert "answers for project local" in out
    assert "answers (gRPC)" in out
    assert "credentials" not in out
    assert local_server.endpoints.token not in out


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        (
            "BIGQUERY_EMULATOR_HOST",
            "http://127.0.0.1:1",
            "http://127.0.0.1:1: BigQuery did not answer",
        ),
        ("BIGQUERY_EMULATOR_HOST", "localhost:9050", "is no address: it must begin with http://"),
        ("ETLKIT_BIGQUERY_GRPC_ENDPOINT", "127.0.0.1:1", "127.0.0.1:1: [Errno"),
        ("ETLKIT_BIGQUERY_GRPC_ENDPOINT", "somewhere", "somewhere is not HOST:PORT"),
        ("ETLKIT_BIGQUERY_GRPC_ENDPOINT", "", "is not set: rows are read and written over gRPC"),
        ("GOOGLE_CLOUD_PROJECT", "", "give one with --project"),
    ],
)
def test_an_emulator_that_does_not_answer(environ, capsys, name, value, text):
    """One of its two sides may be missing; it is asked once, without the retries of a run."""
    environ.setenv("GOOGLE_CLOUD_PROJECT", "local")
    environ.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    environ.setenv("HOME", "/nonexistent")
    environ.setenv("NO_GCE_CHECK", "true")
    environ.setenv(name, value)
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert text in out
    assert "1 of 5 checks found something wrong" in out
