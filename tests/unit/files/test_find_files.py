import sys

import pytest

from etlkit import ConfigError, CsvSource, SourceError


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Files `a.csv`, `b.csv` and `deep/er/c.csv` in the working directory and in a local bucket."""
    for root in (tmp_path, tmp_path / "buckets" / "photos"):
        for name in ("a.csv", "b.csv", "deep/er/c.csv"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(f"n\n{ord(name[-5])}\n")
    monkeypatch.chdir(tmp_path)
    return {"ETLKIT_BUCKETS": str(tmp_path / "buckets")}


def values(read, path, here):
    return [chr(row["n"]) for row in read(CsvSource(path), environ=here).rows]


@pytest.mark.parametrize("root", ["", "gs://photos/"])
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.csv", "a"),
        ("*.csv", "ab"),
        ("[bc].csv", "b"),
        ("deep/**/*.csv", "c"),
        ("?.csv", "ab"),
    ],
)
def test_paths_and_patterns(read, here, root, path, expected):
    """A local bucket and a folder are read the same way, in order of name."""
    assert values(read, root + path, here) == list(expected)


def test_the_order_of_paths_is_kept(read, here):
    """The files of a pattern are sorted; a list of paths keeps its order."""
    assert values(read, ["b.csv", "gs://photos/*.csv", "a.csv"], here) == list("baba")


def test_a_name_that_looks_like_a_pattern(read, here, tmp_path):
    """A path that is the name of a file is not used as a pattern."""
    (tmp_path / "[a].csv").write_text("n\n122\n")
    assert values(read, "[a].csv", here) == ["z"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("z.csv", r"no file z\.csv"),
        ("z*.csv", r"no file matches z\*\.csv"),
        ("deep", r"deep is a folder; name its files, e\.g\. deep/\*\.csv"),
        ("gs://photos/z.csv", r"no object gs://photos/z\.csv .* etlkit\.local ls gs://photos/"),
        ("gs://photos", "no object gs://photos in"),
        ("gs://nobody/a.csv", r"no object gs://nobody/a\.csv"),
        ("gs://photos/../../a.csv", "no object"),
    ],
)
def test_missing_files(read, here, path, message):
    """The message has the next step; no path leads out of a bucket."""
    with pytest.raises(SourceError, match=message):
        read(CsvSource(path), environ=here)


def test_cloud_storage_without_gcsfs(read, monkeypatch):
    """Without the local world, `gs://` needs an extra, and the message says which."""
    monkeypatch.setitem(sys.modules, "gcsfs.core", None)
    with pytest.raises(ConfigError, match=r"or --local, .*pip install -e '\.\[gcs\]'"):
        read(CsvSource("gs://b/a.csv"))
