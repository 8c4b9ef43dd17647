"""`etlkit doctor --local` on this machine, which can run everything."""

from etlkit.cli.root import main


def test_a_machine_that_is_well(local_server, capsys):
    """The local BigQuery answers; the exit status is 0."""
    assert main(["doctor", "--local", "--local-dir", str(local_server.local_dir)]) == 0
    out = capsys.readouterr().out
    assert "local BigQuery" in out
    assert "5 checks, nothing wrong" in out


def test_a_folder_that_cannot_be_used(tmp_path, capsys):
    """The exit status is 1, and the folder is named."""
    (tmp_path / "file").write_text("")
    assert main(["doctor", "--local", "--local-dir", str(tmp_path / "file" / "x")]) == 1
    assert f"{tmp_path / 'file'} is not a folder" in capsys.readouterr().out
