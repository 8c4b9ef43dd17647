"""Objects are copied from bucket to bucket: here from folder to folder, as with `--local`."""

import pytest

from etlkit import RowError
from etlkit.testing import run_transform
from transforms.copy_object import Etl


@pytest.fixture
def buckets(tmp_path, monkeypatch):
    """Local buckets with two photos in one of them."""
    monkeypatch.setenv("ETLKIT_BUCKETS", str(tmp_path))
    for name in ("cat.jpg", "trip/dog.jpg"):
        photo = tmp_path / "photos" / name
        photo.parent.mkdir(parents=True, exist_ok=True)
        photo.write_bytes(name.encode())
    return tmp_path


def row(name, copy="gs://review/copy.jpg"):
    return {"uri": name, "copy_uri": copy}


@pytest.mark.parametrize(
    ("uri", "copy_uri", "message"),
    [
        ("gs://photos/bird.jpg", "gs://review/a.jpg", "no object gs://photos/bird.jpg"),
        ("gs://photos/../secret", "gs://review/a.jpg", "leads out of its bucket"),
        ("gs://photos/cat.jpg", "gs://../a.jpg", "leads out of its bucket"),
        ("gs://photos/cat.jpg", "gs://review/../../a.jpg", "leads out of its bucket"),
        ("gs://photos/cat.jpg", "gs://review/", "must be gs://bucket/name"),
        ("cat.jpg", "gs://review/a.jpg", "must be gs://bucket/name"),
        ("gs://photos/cat.jpg", "gs://photos/trip", "cannot be copied to gs://photos/trip"),
    ],
)
def test_an_address_that_cannot_be_copied(buckets, uri, copy_uri, message):
    """It is an error of its row, and nothing is written."""
    (buckets.parent / "secret").write_text("x")
    with pytest.raises(RowError, match=message):
        run_transform(Etl, [row(uri, copy_uri)])
    written = {path.name for path in buckets.rglob("*") if path.is_file()}
    assert written == {"cat.jpg", "dog.jpg"}
    assert not (buckets.parent / "a.jpg").exists()


def test_objects_are_copied(buckets):
    """Each copy has the content of its object, replaces what was there, and the row is unchanged."""
    (buckets / "review").mkdir()
    (buckets / "review" / "cat.jpg").write_bytes(b"another")
    rows = [
        row("gs://photos/cat.jpg", "gs://review/cat.jpg"),
        row("gs://photos/trip/dog.jpg", "gs://review/photos/trip/dog.jpg"),
    ]
    assert run_transform(Etl, [{**each, "agreement": 0.5} for each in rows]) == [
        {**each, "agreement": 0.5} for each in rows
    ]
    assert (buckets / "review" / "cat.jpg").read_bytes() == b"cat.jpg"
    assert (buckets / "review" / "photos" / "trip" / "dog.jpg").read_bytes() == b"trip/dog.jpg"
    assert list((buckets / ".partial").iterdir()) == []
