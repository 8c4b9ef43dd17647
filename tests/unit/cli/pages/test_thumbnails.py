import base64
import io

import pytest
from PIL import Image

from etlkit.cli.pages import thumbnails
from etlkit.cli.pages.thumbnails import NoThumbnail, Thumbnail, make_thumbnails, shrink
from etlkit.vision.download import DownloadError


def picture(width=40, height=20, kind="PNG", mode="RGB", **options):
    data = io.BytesIO()
    Image.new(mode, (width, height), 120).save(data, kind, **options)
    return data.getvalue()


def opened(thumbnail):
    head, _, data = thumbnail.uri.partition(",")
    assert head == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


@pytest.fixture
def bucket(tmp_path):
    """The local bucket `photos`, and the environment that names it."""
    folder = tmp_path / "buckets" / "photos"
    folder.mkdir(parents=True)
    return folder, {"ETLKIT_BUCKETS": str(tmp_path / "buckets")}


def make(addresses, environ=None, **options):
    return make_thumbnails(addresses, environ or {}, **{"max_bytes": 10_000_000, **options})


@pytest.mark.parametrize(
    ("make_content", "reason"),
    [
        (bytes, "not a picture"),
        (lambda: b"<svg onload='alert(1)'/>", "not a picture"),
        (lambda: picture()[:-30], "not a picture"),
        (lambda: picture(9_000, 9_000, mode="1"), "more than 75,000,000 pixels"),
    ],
)
def test_bad_pictures(make_content, reason):
    """A broken, foreign or huge file is a reason, not an error."""
    found = shrink(make_content(), 100)
    assert isinstance(found, NoThumbnail)
    assert reason in found.reason


def test_pictures_become_small():
    """The longer side is bounded, a small picture stays; the size that is told is the whole one."""
    found = shrink(picture(400, 100), 200)
    assert (found.width, found.height) == (400, 100)
    assert opened(found).size == (200, 50)
    assert opened(shrink(picture(40, 20), 200)).size == (40, 20)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
def test_every_kind_of_pixel(mode):
    """Grey, palettes and transparency become plain colours."""
    assert opened(shrink(picture(mode=mode), 100)).mode == "RGB"


def test_pictures_are_upright_and_without_metadata():
    """The orientation of a camera is applied, as Vision does it; where it was taken is left out."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8825)[1] = "N"
    found = shrink(picture(400, 100, "JPEG", exif=exif), 200)
    assert (found.width, found.height) == (100, 400)
    small = opened(found)
    assert small.size == (50, 200)
    assert "exif" not in small.info


def test_addresses_of_buckets(bucket, tmp_path):
    """An object, a path in the buckets; nothing outside of them, whatever a row says."""
    folder, environ = bucket
    (folder / "a b*.png").write_bytes(picture())
    (tmp_path / "secret.png").write_bytes(picture())
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    good = ["gs://photos/a b*.png", "photos/a b*.png", str(folder / "a b*.png")]
    bad = [
        "gs://photos/link.png", "gs://photos/../../secret.png", "photos/link.png",
        "../secret.png", str(tmp_path / "secret.png"), "gs://photos", "gs://photos/no.png",
        "\0", "x" * 5000,
    ]  # fmt: skip
    found = make([*good, *bad], environ)
    assert all(isinstance(found.by_address[each], Thumbnail) for each in good)
    assert all(isinstance(found.by_address[each], NoThumbnail) for each in bad)
    assert found.num_shown == len(good)
    assert found.reasons["no object in the local buckets"] == 1


def test_paths_need_the_local_buckets(tmp_path):
    """On Google Cloud no file of this machine gets into a page."""
    (tmp_path / "a.png").write_bytes(picture())
    found = make([str(tmp_path / "a.png"), "javascript:alert(1)"])
    assert list(found.reasons) == ["it is no gs:// or https:// address"]


def test_large_files_are_not_read(bucket, monkeypatch):
    """The bound is that of Vision."""
    monkeypatch.setattr(thumbnails, "MAX_FILE_BYTES", 10)
    folder, environ = bucket
    (folder / "a.png").write_bytes(picture())
    (reason,) = make(["gs://photos/a.png"], environ).reasons
    assert reason == f"has {len(picture()):,} bytes; at most 10 are read"


def test_web_servers_are_asked_only_if_the_user_says_so(monkeypatch):
    """A row cannot make this machine call an address by itself; what fails has a reason."""
    asked = []

    def fetch(url):
        asked.append(url)
        if "bad" in url:
            raise DownloadError("the host answered 404")
        return picture()

    monkeypatch.setattr(thumbnails, "_downloader", lambda: fetch)
    addresses = ["https://example.com/a.png", "http://example.com/bad.png"]
    assert list(make(addresses).reasons) == [
        "it is on a web server; --download fetches such pictures"
    ]
    assert asked == []
    found = make(addresses, download=True)
    assert isinstance(found.by_address[addresses[0]], Thumbnail)
    assert found.reasons == {"the host answered 404": 1}
    assert sorted(asked) == sorted(addresses)


def test_the_download_is_the_safe_one():
    """The real downloader refuses addresses that are not on the public internet."""
    (reason,) = make(["http://127.0.0.1:9/a.png"], download=True).reasons
    assert "not on the public internet" in reason


def test_all_pictures_together_are_bounded(bucket):
    """Pictures are as large as fit; those beyond the bound are left out, and not even read."""
    folder, environ = bucket
    addresses = [f"gs://photos/{i:03}.png" for i in range(60)]
    for address in addresses:
        (folder / address.rpartition("/")[2]).write_bytes(picture())
    one = len(shrink(picture(), 160).uri)
    found = make(addresses, environ, max_bytes=3 * one)
    assert (found.side, found.num_shown, found.num_bytes) == (160, 3, 3 * one)
    assert [a for a, t in found.by_address.items() if isinstance(t, Thumbnail)] == addresses[:3]
    assert list(found.reasons) == ["the page has 0 MB of pictures already"]
    assert make(addresses[:5], environ).side == 800


def test_only_a_few_pictures_are_made_ahead():
    """Memory does not grow with the number of pictures."""
    begun = []

    class Threads:
        def submit(self, _make, address):
            begun.append(address)

    waiting = thumbnails._ahead(Threads(), None, [str(i) for i in range(100)])
    assert next(waiting) == ("0", None)
    assert len(begun) == thumbnails._AHEAD + 1
    assert [address for address, _ in waiting] == [str(i) for i in range(1, 100)]


def test_progress_is_told(bucket):
    """One call for each picture, in order, whatever becomes of it."""
    folder, environ = bucket
    (folder / "a.png").write_bytes(picture())
    told = []
    make(["gs://photos/a.png", "gs://photos/b.png"], environ, on_progress=lambda *n: told.append(n))
    assert told == [(1, 2), (2, 2)]
