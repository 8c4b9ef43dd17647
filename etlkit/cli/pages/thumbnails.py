"""Small pictures inside of a page: read by their address, made smaller, written as `data:` URIs."""

from __future__ import annotations

import io
import re
from base64 import b64encode
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from etlkit.errors import ApiError, RetryableError, RowError
from etlkit.files.storage import BUCKETS, read_bucket_file, read_object

if TYPE_CHECKING:
    from PIL import Image

MAX_FILE_BYTES: Final = 20_000_000
"""A larger file is not read: it is what Vision takes. https://cloud.google.com/vision/quotas"""

MAX_PIXELS: Final = 75_000_000
"""A larger picture is not decoded. It is what Vision takes, and bounds the memory of a hostile file.
Source: https://cloud.google.com/vision/docs/supported-files"""

_FORMATS: Final = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "ICO")
_SIDES: Final = (800, 640, 480, 400, 320, 256, 200, 160)
_BYTES_PER_PIXEL: Final = 0.13
"""Of a photo as WebP with quality 70, measured on photos of 200 to 800 pixels: 0.06 to 0.18."""

_QUALITY: Final = 70
_NUM_THREADS: Final = 8
"""Pictures of Cloud Storage are waited for; those of a disk keep two cores busy with two."""

_AHEAD: Final = 32
"""Pictures that are being made while one is waited for."""


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small picture.

    Attributes:
        uri: `data:image/webp;base64,…`.
        width: Of the whole picture, upright, in pixels.
        height: Likewise.
    """

    uri: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class NoThumbnail:
    """Why there is no small picture.

    Attributes:
        reason: For people, without the address.
    """

    reason: str


@dataclass(frozen=True)
class Thumbnails:
    """The small pictures of a page.

    Attributes:
        by_address: For every address.
        side: The longer side of the small pictures, in pixels.
        num_bytes: Of all `data:` URIs together.
    """

    by_address: Mapping[str, Thumbnail | NoThumbnail]
    side: int
    num_bytes: int

    @property
    def reasons(self) -> Counter[str]:
        """Why pictures are missing, and how many of them."""
        return Counter(
            each.reason for each in self.by_address.values() if isinstance(each, NoThumbnail)
        )

    @property
    def num_shown(self) -> int:
        """Pictures that are there."""
        return len(self.by_address) - self.reasons.total()


def make_thumbnails(
    addresses: Sequence[str],
    environ: Mapping[str, str],
    *,
    max_bytes: int,
    download: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Thumbnails:
    """Make small pictures, as large as the bytes allow.

    Args:
        addresses: `gs://bucket/name`, a path in the local buckets, or `http(s)://…`; each once.
        environ: May name the folder of the local buckets, see `etlkit.files.storage.BUCKETS`.
        max_bytes: Of all `data:` URIs together; pictures beyond it are left out.
        download: Also download `http(s)://` addresses, from the public internet only.
        on_progress: Called with the number of pictures done and of all.

    Raises:
        ConfigError: A package that is needed is not installed.
    """
    side = _side(len(addresses), max_bytes)
    found: dict[str, Thumbnail | NoThumbnail] = {}
    num_bytes, is_full = 0, False
    make = _Maker(environ, side, _downloader() if download else None)
    with ThreadPoolExecutor(_NUM_THREADS, thread_name_prefix="etlkit-thumbnail") as threads:
        for done, (address, future) in enumerate(_ahead(threads, make, addresses), 1):
            thumbnail = NoThumbnail("") if is_full else future.result()
            if isinstance(thumbnail, Thumbnail):
                is_full = num_bytes + len(thumbnail.uri) > max_bytes
            if is_full:
                make.stop()
                thumbnail = NoThumbnail(
                    f"the page has {max_bytes / 1e6:,.0f} MB of pictures already"
                )
            elif isinstance(thumbnail, Thumbnail):
                num_bytes += len(thumbnail.uri)
            found[address] = thumbnail
            if on_progress is not None:
                on_progress(done, len(addresses))
    return Thumbnails(found, side, num_bytes)


def _side(num_pictures: int, max_bytes: int) -> int:
    """The largest side with which all pictures fit; three quarters of a square are picture."""
    for side in _SIDES:
        if num_pictures * side * side * 0.75 * _BYTES_PER_PIXEL * 4 / 3 <= max_bytes:
            return side
    return _SIDES[-1]


def _ahead(
    threads: ThreadPoolExecutor, make: _Maker, addresses: Sequence[str]
) -> Iterator[tuple[str, Future[Thumbnail | NoThumbnail]]]:
    """Addresses and their results in order; a few are made ahead, the others wait."""
    waiting: deque[tuple[str, Future[Thumbnail | NoThumbnail]]] = deque()
    for address in addresses:
        waiting.append((address, threads.submit(make, address)))
        if len(waiting) > _AHEAD:
            yield waiting.popleft()
    yield from waiting


def _downloader() -> Callable[[str], bytes]:
    from etlkit.vision.download import Downloader

    return Downloader(max_bytes=MAX_FILE_BYTES).fetch


class _Maker:
    def __init__(
        self, environ: Mapping[str, str], side: int, download: Callable[[str], bytes] | None
    ) -> None:
        self._environ = environ
        self._side = side
        self._download = download
        self._is_stopped = False

    def stop(self) -> None:
        """Make no more pictures: there is no room for them."""
        self._is_stopped = True

    def __call__(self, address: str) -> Thumbnail | NoThumbnail:
        if self._is_stopped:
            return NoThumbnail("")
        try:
            content = self._read(address)
        except _NotReadError as error:
            return NoThumbnail(str(error))
        return shrink(content, self._side)

    def _read(self, address: str) -> bytes:
        root = self._environ.get(BUCKETS)
        try:
            if address.startswith("gs://"):
                return read_object(address, max_bytes=MAX_FILE_BYTES, environ=self._environ)
            if re.match(r"https?://", address, re.IGNORECASE):
                return self._fetch(address)
            if root is not None:
                return read_bucket_file(address, max_bytes=MAX_FILE_BYTES, root=root)
        except (RowError, ApiError, RetryableError) as error:
            raise _NotReadError(_without(address, str(error))) from None
        raise _NotReadError("it is no gs:// or https:// address")

    def _fetch(self, address: str) -> bytes:
        from etlkit.vision.download import DownloadError

        if self._download is None:
            raise _NotReadError("it is on a web server; --download fetches such pictures")
        try:
            return self._download(address)
        except DownloadError as error:
            raise _NotReadError(str(error)) from None


class _NotReadError(Exception):
    """A picture cannot be read; the message is for people."""


def _without(address: str, message: str) -> str:
    """A message that many pictures can share: without the address."""
    return message.replace(repr(address), "it").replace(address, "").replace("  ", " ").strip()


def shrink(content: bytes, side: int) -> Thumbnail | NoThumbnail:
    """Make a picture smaller, upright and without metadata.

    Args:
        content: The whole file.
        side: The longer side of the small picture; a smaller picture stays as it is.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                return NoThumbnail(f"it has more than {MAX_PIXELS:,} pixels")
            width, height = _upright_size(image)
            image.draft("RGB", (side, side))  # a JPEG is decoded at a fraction of its size
            # In place: a copy of a large picture takes hundreds of megabytes.
            ImageOps.exif_transpose(image, in_place=True)
            small = image if image.mode == "RGB" else image.convert("RGB")
            small.thumbnail((side, side))
    except Exception:  # Pillow's decoders raise many types for hostile bytes
        return NoThumbnail("it is not a picture, or a broken one")
    data = io.BytesIO()
    small.save(data, "WEBP", quality=_QUALITY, method=2)
    encoded = b64encode(data.getvalue()).decode("ascii")
    return Thumbnail(f"data:image/webp;base64,{encoded}", width, height)


_ORIENTATION: Final = 0x0112
_SIDEWAYS: Final = frozenset({5, 6, 7, 8})
"""EXIF orientations that swap width and height."""


def _upright_size(image: Image.Image) -> tuple[int, int]:
    if image.getexif().get(_ORIENTATION) in _SIDEWAYS:
        return image.height, image.width
    return image.width, image.height
