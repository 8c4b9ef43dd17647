"""A body that is read piece by piece, and goes on where the connection broke."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from etlkit.calls.connections import HttpStream
from etlkit.errors import RetryableError

PIECE_BYTES: Final = 64 * 1024
"""What must arrive within the time of one piece."""

_OK, _PARTIAL, _BEYOND_THE_END = 200, 206, 416
_GZIP: Final = frozenset({"gzip", "x-gzip"})
_GZIP_BITS: Final = 16 + zlib.MAX_WBITS

Ask: TypeAlias = Callable[[Mapping[str, str], float], HttpStream]
"""Makes the request with more headers and within some seconds. It may follow redirects."""


class ContinuedBody:
    """A body that survives a broken connection, if it is still the same.

    The rest is asked for with `Range` where the server gave a strong `ETag`; else the body is read
    again from its start, and what came before must be equal.

    Args:
        ask: See `Ask`.
        refusal: The error for an answer that is no body, given the answer and seconds to read it.
        changed: The error for a body that is not the same as before.

    Attributes:
        headers: Of the latest answer.
    """

    def __init__(
        self,
        ask: Ask,
        refusal: Callable[[HttpStream, float], Exception],
        changed: Callable[[], Exception],
    ) -> None:
        self._ask = ask
        self._refusal = refusal
        self._changed = changed
        self._stream: HttpStream | None = None
        self._etag: str | None = None
        self._num_bytes = 0
        self._is_over = False
        self._digest = hashlib.sha256()
        self.headers: Mapping[str, str] = {}

    @property
    def is_open(self) -> bool:
        """Whether the next piece comes without another request."""
        return self._stream is not None

    def next_piece(self, timeout_s: float) -> bytes:
        """The next piece; empty = the end.

        Raises:
            RetryableError: The connection broke; call again.
            Exception: What `refusal` or `changed` gave.
        """
        try:
            stream = self._stream or self._open(timeout_s)
            piece = b"" if self._is_over else stream.read(PIECE_BYTES, timeout_s)
        except RetryableError:
            self.close()
            raise
        self._num_bytes += len(piece)
        self._digest.update(piece)
        return piece

    def close(self) -> None:
        """End the connection; the next piece makes another request."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _open(self, timeout_s: float) -> HttpStream:
        more = {}
        if self._num_bytes and self._etag is not None:
            more = {"Range": f"bytes={self._num_bytes}-", "If-Range": self._etag}
        stream = self._stream = self._ask(more, timeout_s)
        if more and stream.status == _BEYOND_THE_END:
            size = stream.headers.get("Content-Range", "").rpartition("/")[2]
            self._is_over = size == str(self._num_bytes)  # it broke behind the last byte
            if self._is_over:
                return stream
            if not size:  # it does not say; without a range the body comes again and is compared
                self.close()
                self._etag = None
                return self._open(timeout_s)
        if stream.status not in ({_OK, _PARTIAL} if more else {_OK}):
            error = self._refusal(stream, timeout_s)
            self.close()
            raise error
        etag = stream.headers.get("ETag")
        self._etag = etag if etag is not None and not etag.startswith("W/") else None
        self.headers = stream.headers
        if stream.status == _PARTIAL:
            self._check_range(stream)
        elif self._num_bytes:
            self._skip(stream, timeout_s)
        return stream

    def _check_range(self, stream: HttpStream) -> None:
        given = stream.headers.get("Content-Range", "")
        if given and not given.startswith(f"bytes {self._num_bytes}-"):
            self.close()
            raise self._changed()

    def _skip(self, stream: HttpStream, timeout_s: float) -> None:
        """Read again what came before the break, and check that it is the same."""
        again, missing = hashlib.sha256(), self._num_bytes
        while missing:
            piece = stream.read(min(missing, PIECE_BYTES), timeout_s)
            if not piece:
                break
            again.update(piece)
            missing -= len(piece)
        if again.digest() != self._digest.digest():
            self.close()
            raise self._changed()


def decompressed(
    pieces: Iterable[bytes], headers: Callable[[], Mapping[str, str]], wrong: Exception
) -> Generator[bytes, None, None]:
    """The pieces of a body without gzip, which servers apply to stored files unasked.

    Args:
        pieces: As they come.
        headers: Of the answer, once the first piece has come.
        wrong: Raised if they are not encoded as the headers say, or in another way than gzip.
    """
    gzip: _Gunzip | None = None
    for number, piece in enumerate(pieces):
        if number == 0:
            coding = headers().get("Content-Encoding", "identity").strip().lower()
            if coding in _GZIP:
                gzip = _Gunzip()
            elif coding not in {"", "identity"}:
                raise wrong
        try:
            yield from filter(None, (piece,) if gzip is None else gzip.feed(piece))
        except zlib.error:
            raise wrong from None
    if gzip is not None:
        yield from filter(None, (gzip.rest(),))
        if not gzip.is_whole:
            raise wrong


class _Gunzip:
    """Undoes gzip, of one member or several, in parts of bounded size."""

    def __init__(self) -> None:
        self._decoder: Any = None

    def feed(self, piece: bytes) -> Iterator[bytes]:
        while piece:
            if self._decoder is None or self._decoder.eof:
                self._decoder = zlib.decompressobj(_GZIP_BITS)
            yield self._decoder.decompress(piece, PIECE_BYTES)
            piece = self._decoder.unconsumed_tail or self._decoder.unused_data

    def rest(self) -> bytes:
        return b"" if self._decoder is None else self._decoder.flush()

    @property
    def is_whole(self) -> bool:
        return self._decoder is None or self._decoder.eof
