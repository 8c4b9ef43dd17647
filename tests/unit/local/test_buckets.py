import base64
import hashlib
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from etlkit.errors import ConfigError
from etlkit.local.buckets import Buckets


@pytest.fixture
def buckets(tmp_path: Path) -> Buckets:
    return Buckets(tmp_path / "buckets")


@pytest.fixture
def make_file(tmp_path: Path):
    """Write a file outside the buckets."""

    def write(name: str, content: bytes = b"x") -> Path:
        path = tmp_path / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    return write


def uris(buckets: Buckets, uri: str) -> list[str]:
    return [stored.uri for stored in buckets.list(uri)]


@pytest.mark.parametrize("target", ["gs://photos", "gs://photos/"])
def test_put_makes_the_bucket_and_keeps_the_names(buckets, make_file, target):
    """Files are stored in the root of a bucket under their own names, in order."""
    files = [make_file("b.jpg", b"bb"), make_file("a.jpg", b"a")]
    assert buckets.put(files, target) == ["gs://photos/b.jpg", "gs://photos/a.jpg"]
    assert (buckets.root / "photos" / "b.jpg").read_bytes() == b"bb"
    assert uris(buckets, "gs://photos") == ["gs://photos/a.jpg", "gs://photos/b.jpg"]


def test_put_into_a_prefix_and_under_a_full_name(buckets, make_file):
    """Under a prefix files keep their names; a single file can get a new name."""
    file = make_file("a.jpg")
    assert buckets.put([file], "gs://photos/2026/11/") == ["gs://photos/2026/11/a.jpg"]
    assert buckets.put([file], "gs://photos/2026/cat.jpg") == ["gs://photos/2026/cat.jpg"]


def test_put_again_replaces_the_object_and_its_generation_grows(buckets, make_file):
    """An object that is put again has the new content and a later generation."""
    buckets.put([make_file("a.txt", b"old")], "gs://photos/")
    old = buckets.get("gs://photos/a.txt")
    os.utime(old.path, (1, 1))
    old = buckets.get("gs://photos/a.txt")
    buckets.put([make_file("a.txt", b"newer")], "gs://photos/")
    new = buckets.get("gs://photos/a.txt")
    assert new.path.read_bytes() == b"newer"
    assert new.generation > old.generation


def test_put_leaves_nothing_half_written_behind(buckets, make_file):
    """Copies go through a folder that no listing shows and that is empty afterwards."""
    buckets.put([make_file("a.txt")], "gs://photos/")
    assert list((buckets.root / ".partial").iterdir()) == []
    with pytest.raises(ConfigError, match="there: gs://photos"):
        buckets.list("gs://nope")


def test_put_checks_all_files_before_it_copies_any(buckets, make_file, tmp_path):
    """If one of several files is missing, nothing is stored."""
    with pytest.raises(ConfigError, match=r"no file .*gone\.jpg"):
        buckets.put([make_file("a.jpg"), tmp_path / "gone.jpg"], "gs://photos/")
    assert not (buckets.root / "photos").exists()


def test_put_refuses_a_folder(buckets, tmp_path):
    """A folder is refused, and the message says how to name its files."""
    with pytest.raises(
        ConfigError, match=r"is not a file; name the files in it, such as .*/\*\.jpg"
    ):
        buckets.put([tmp_path], "gs://photos/")


def test_put_recursive_copies_a_folder(buckets, make_file, tmp_path):
    """Names under the address begin with the folder's own name, as by `gsutil cp -r`."""
    make_file("model/saved_model.pb")
    make_file("model/variables/variables.index")
    assert buckets.put([tmp_path / "files" / "model"], "gs://models/v1/", recursive=True) == [
        "gs://models/v1/model/saved_model.pb",
        "gs://models/v1/model/variables/variables.index",
    ]
    with pytest.raises(ConfigError, match="end it with /"):
        buckets.put([tmp_path / "files" / "model"], "gs://models/v1", recursive=True)


def test_put_refuses_an_empty_folder(buckets, tmp_path):
    """An empty list of files or an empty folder is an error."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="no files to put"):
        buckets.put([tmp_path / "empty"], "gs://models/", recursive=True)


def test_put_refuses_two_files_of_one_name(buckets, make_file):
    """Two files that would become one object are refused, because one would be lost."""
    with pytest.raises(ConfigError, match="one would be lost"):
        buckets.put([make_file("x/a.jpg"), make_file("y/a.jpg")], "gs://photos/")


def test_put_refuses_several_files_under_one_name(buckets, make_file):
    """Several files need a prefix that ends with a slash."""
    with pytest.raises(ConfigError, match="end it with /"):
        buckets.put([make_file("a.jpg"), make_file("b.jpg")], "gs://photos/all")


def test_put_says_that_a_name_is_an_object_or_a_folder(buckets, make_file):
    """Unlike Cloud Storage a local bucket cannot have `a` beside `a/b`, and the message says so."""
    file = make_file("a")
    buckets.put([file], "gs://photos/")
    with pytest.raises(ConfigError, match="cannot be both an object and a folder"):
        buckets.put([file], "gs://photos/a/b")
    buckets.put([file], "gs://photos/folder/")
    with pytest.raises(ConfigError, match="cannot be both an object and a folder"):
        buckets.put([file], "gs://photos/folder")


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("gs://photos", ["a.jpg", "b.png", "trips/c.jpg", "trips/d/e.jpg"]),
        ("gs://photos/", ["a.jpg", "b.png", "trips/c.jpg", "trips/d/e.jpg"]),
        ("gs://photos/*", ["a.jpg", "b.png", "trips/c.jpg", "trips/d/e.jpg"]),
        ("gs://photos/*.jpg", ["a.jpg", "trips/c.jpg", "trips/d/e.jpg"]),
        ("gs://photos/trips/*.jpg", ["trips/c.jpg", "trips/d/e.jpg"]),
        ("gs://photos/tri", ["trips/c.jpg", "trips/d/e.jpg"]),
        ("gs://photos/trips/", ["trips/c.jpg", "trips/d/e.jpg"]),
        ("gs://photos/a.jpg", ["a.jpg"]),
        ("gs://photos/a?jpg", []),
        ("gs://photos/[ab].*", []),
    ],
)
def test_list_takes_a_prefix_or_stars(buckets, make_file, uri, expected):
    """Without a star an address is a prefix; a star matches slashes too; nothing else is special."""
    for name in ("a.jpg", "b.png", "trips/c.jpg", "trips/d/e.jpg"):
        buckets.put([make_file("f")], f"gs://photos/{name}")
    assert uris(buckets, uri) == [f"gs://photos/{name}" for name in expected]


def test_an_object_has_what_an_object_table_shows(buckets, make_file):
    """Size, type, base64 MD5, time and generation of an object come from its file."""
    content = "é".encode() * 1000
    buckets.put([make_file("猫.webp", content)], "gs://photos/")
    (stored,) = buckets.list("gs://photos/")
    os.utime(stored.path, ns=(0, 1_763_872_000_123_456_789))
    stored = buckets.get("gs://photos/猫.webp")
    assert stored.size == 2000
    assert stored.content_type == "image/webp"
    assert stored.md5_hash == base64.b64encode(hashlib.md5(content).digest()).decode()  # noqa: S324
    assert stored.updated == datetime(2025, 11, 23, 4, 26, 40, 123456, tzinfo=UTC)
    assert stored.generation == 1_763_872_000_123_456


def test_an_object_of_unknown_type_is_an_octet_stream(buckets, make_file):
    """A name without a known suffix has the default type of Cloud Storage."""
    buckets.put([make_file("a")], "gs://photos/")
    assert buckets.get("gs://photos/a").content_type == "application/octet-stream"


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("photos/a", "not an address in a bucket"),
        ("s3://photos/a", "not an address in a bucket"),
        ("gs://", "not a bucket name"),
        ("gs:///a", "not a bucket name"),
        ("gs://Photos/a", "not a bucket name"),
        ("gs://ab/a", "not a bucket name"),
        ("gs://-ab/a", "not a bucket name"),
        ("gs://.partial/a", "not a bucket name"),
        ("gs://" + "a" * 64 + "/a", "not a bucket name"),
        ("gs://photos", "names no object"),
        ("gs://photos/", "names no object"),
        ("gs://photos/trips/", "names no object"),
        ("gs://photos/../other/a", "'..' part"),
        ("gs://photos/./a", "'.' or '..' part"),
        ("gs://photos//etc/passwd", "has an empty"),
        ("gs://photos/a\0b", "may not have"),
        ("gs://photos/a\nb", "may not have"),
        ("gs://photos/\ud800", "may not have"),
        ("gs://photos/" + "é" * 600, "longer than 1024 bytes"),
    ],
)
def test_path_refuses_wrong_addresses(buckets, uri, message):
    """A wrong address is a configuration error that says what is wrong."""
    with pytest.raises(ConfigError, match=message) as info:
        buckets.path(uri)
    assert info.value.exit_code == 2


def test_get_names_what_is_missing_and_what_to_do(buckets, make_file):
    """The messages for a missing bucket and a missing object name the next command."""
    with pytest.raises(ConfigError, match=r"no bucket gs://photos .*etlkit\.local put"):
        buckets.get("gs://photos/a.jpg")
    buckets.put([make_file("b.jpg")], "gs://photos/")
    with pytest.raises(ConfigError, match=r"no object gs://photos/a\.jpg; .* ls gs://photos/"):
        buckets.get("gs://photos/a.jpg")
    with pytest.raises(ConfigError, match="no object"):
        buckets.get("gs://photos/" + "a" * 300)


def test_links_out_of_a_bucket_are_not_followed(buckets, make_file):
    """A symbolic link that leads out of its bucket is not an object and cannot be written through."""
    secret = make_file("secret.txt")
    buckets.put([secret], "gs://photos/")
    (buckets.root / "photos" / "link.txt").symlink_to(secret)
    (buckets.root / "photos" / "folder").symlink_to(secret.parent)
    assert uris(buckets, "gs://photos/") == ["gs://photos/secret.txt"]
    for uri in ("gs://photos/link.txt", "gs://photos/folder/secret.txt"):
        with pytest.raises(ConfigError, match="leads out of its bucket"):
            buckets.path(uri)
    with pytest.raises(ConfigError, match="leads out of its bucket"):
        buckets.put([secret], "gs://photos/folder/new.txt")


def test_broken_and_circular_links_are_not_objects(buckets, make_file):
    """A listing skips broken links."""
    buckets.put([make_file("a.txt")], "gs://photos/")
    folder = buckets.root / "photos"
    (folder / "broken").symlink_to(folder / "gone")
    (folder / "circle").symlink_to(folder / "circle")
    assert uris(buckets, "gs://photos/") == ["gs://photos/a.txt"]
    with pytest.raises(ConfigError):
        buckets.get("gs://photos/circle")


def test_put_recursive_follows_no_link_out_of_the_folder(buckets, make_file, tmp_path):
    """What a link leads to may be anything of the user. Nothing is copied then."""
    folder = make_file("photos/a.jpg").parent
    outside = make_file("private/key", b"secret")
    (folder / "again.jpg").symlink_to("a.jpg")
    (folder / "sub").mkdir()
    (folder / "sub" / "up").symlink_to("..")
    assert buckets.put([folder], "gs://inside/", recursive=True) == [
        "gs://inside/photos/a.jpg",
        "gs://inside/photos/again.jpg",
    ]
    for name, target in (
        ("key", outside),
        ("sub/all", outside.parent),
        ("gone", tmp_path / "gone"),
    ):
        link = folder / name
        link.symlink_to(target)
        with pytest.raises(ConfigError, match=f"{link} is a link that leads out of {folder}"):
            buckets.put([folder], "gs://outside/", recursive=True)
        link.unlink()
    assert not (buckets.root / "outside").exists()
    assert buckets.put([outside], "gs://outside/") == ["gs://outside/key"]


def test_objects_are_for_one_user_only(buckets, make_file):
    """Whatever the mode of the original is."""
    original = make_file("a")
    original.chmod(0o666)
    buckets.put([original], "gs://bucket/b/c/")
    for path in (buckets.root, *buckets.root.rglob("*")):
        assert not path.stat().st_mode & 0o077, path
