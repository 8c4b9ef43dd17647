"""Local buckets: `gs://bucket/x` is the file `bucket/x` in one folder."""

from __future__ import annotations

import base64
import hashlib
import mimetypes
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from etlkit.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Source: https://cloud.google.com/storage/docs/buckets#naming
_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_MAX_BUCKET_PART = 63

# Source: https://cloud.google.com/storage/docs/objects#naming (bytes of UTF-8)
_MAX_OBJECT_NAME_BYTES = 1024

# Cloud Storage serves an object that was stored without a type as this.
# Source: https://cloud.google.com/bigquery/docs/object-table-introduction#object_table_schema
_DEFAULT_CONTENT_TYPE = "application/octet-stream"


# Only the built-in table. The system's files would give an image another type on each machine.
_TYPES = mimetypes.MimeTypes()


@dataclass(frozen=True)
class StoredObject:
    """One object of a local bucket.

    Attributes:
        uri: `gs://bucket/name`.
        path: The file with its content.
        size: Bytes.
        updated: When it was last written, in UTC.
        generation: The microseconds of `updated`. It grows with each overwrite, as in Cloud Storage.
    """

    uri: str
    path: Path
    size: int
    updated: datetime
    generation: int

    @property
    def content_type(self) -> str:
        """The MIME type, guessed from the name as `gsutil cp` does."""
        return _TYPES.guess_type(self.path.name, strict=False)[0] or _DEFAULT_CONTENT_TYPE

    @property
    def md5_hash(self) -> str:
        """The MD5 of the content in base64, as in object tables. Reads the whole file."""
        with self.path.open("rb") as stream:
            digest = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False))
        return base64.b64encode(digest.digest()).decode("ascii")


class Buckets:
    """The buckets in one folder. A bucket exists as soon as something is put into it."""

    def __init__(self, root: Path) -> None:
        self.root: Path = root.resolve()

    def path(self, uri: str) -> Path:
        """The file of an object, which need not exist. It is always in the bucket's folder.

        Raises:
            ConfigError: The address is not `gs://bucket/name`, or the name cannot be a file or
                leads out of the bucket.
        """
        bucket, name = _split(uri)
        if not name or name.endswith("/"):
            raise ConfigError(f"{uri!r} names no object; write gs://bucket/name")
        return self._inside(bucket, name, uri)

    def get(self, uri: str) -> StoredObject:
        """Get one object.

        Raises:
            ConfigError: As in `path`, or there is no such object.
        """
        path = self.path(uri)
        if not _is_file(path):
            bucket, _ = _split(uri)
            self._existing(bucket)
            raise ConfigError(
                f"no object {uri}; see what is there with: python -m etlkit.local ls gs://{bucket}/"
            )
        return self._stored(uri, path)

    def list(self, uri: str) -> Sequence[StoredObject]:
        """List the objects whose address starts with `uri`, or matches it if it has a `*`.

        Args:
            uri: `gs://bucket`, `gs://bucket/prefix` or `gs://bucket/*.jpg`. As in the `uris` of an
                object table, `*` also matches `/`.

        Returns:
            The objects in the order of their addresses; [] = nothing matches.

        Raises:
            ConfigError: Not a `gs://` address, or the bucket does not exist.
        """
        bucket, pattern = _split(uri)
        prefix = f"gs://{bucket}/"
        regex = re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)
        matches = regex.fullmatch if "*" in pattern else regex.match
        found = [
            self._stored(prefix + name, path)
            for name, path in self._walk(self._existing(bucket))
            if matches(name)
        ]
        return sorted(found, key=lambda stored: stored.uri)

    def put(self, files: Sequence[Path], uri: str, *, recursive: bool = False) -> Sequence[str]:
        """Copy files into a bucket, replacing objects of the same name.

        All files are checked before the first one is copied. A reader sees all of an object or
        none of it.

        Args:
            files: At least one. Folders are refused, as by `gsutil cp` without `-r`.
            uri: `gs://bucket/` or `gs://bucket/prefix/` keeps the names of the files. For a single
                file it may also be `gs://bucket/name`.
            recursive: Copy folders too: `folder/a/b` becomes `folder/a/b` under the address.

        Returns:
            The address of each file, in order.

        Raises:
            ConfigError: A file is missing or is a folder, two files would get the same name, or
                `uri` is not an address in a bucket.
        """
        named = _named(files, recursive=recursive)
        bucket, name = _split(uri)
        if name and not name.endswith("/"):
            if len(named) > 1 or files[0].is_dir():
                raise ConfigError(
                    f"{len(named)} files cannot all become {uri}; to put them under it, end it "
                    "with /"
                )
            targets = {self._inside(bucket, name, uri): uri}
        else:
            addresses = [f"gs://{bucket}/{name}{own_name}" for _, own_name in named]
            targets = {self.path(address): address for address in addresses}
        if len(targets) < len(named):
            raise ConfigError(f"two of the files have the same name; under {uri} one would be lost")
        for (file, _), target in zip(named, targets, strict=True):
            self._copy(file, target, targets[target])
        return list(targets.values())

    def has_bucket(self, uri: str) -> bool:
        """Whether the bucket of an address exists."""
        return (self.root / _split(uri)[0]).is_dir()

    def _inside(self, bucket: str, name: str, uri: str) -> Path:
        """Join the names, and check that the file is in the bucket, also through symbolic links."""
        folder = self.root / bucket
        path = folder / name
        try:
            resolved = path.resolve()
        except (OSError, RuntimeError) as exc:
            raise ConfigError(f"{uri!r} cannot be a file: {exc}") from exc
        if not resolved.is_relative_to(folder):
            raise ConfigError(f"{uri!r} leads out of its bucket")
        return path

    def _existing(self, bucket: str) -> Path:
        folder = self.root / bucket
        if not folder.is_dir():
            there = ", ".join(f"gs://{name}" for name in self._bucket_names()) or "none"
            raise ConfigError(
                f"no bucket gs://{bucket} in {self.root} (buckets there: {there}); put files with: "
                f"python -m etlkit.local put FILE... gs://{bucket}/"
            )
        return folder

    def _bucket_names(self) -> Sequence[str]:
        folders = self.root.iterdir() if self.root.is_dir() else ()
        return sorted(folder.name for folder in folders if _BUCKET_NAME.fullmatch(folder.name))

    def _walk(self, folder: Path) -> Iterator[tuple[str, Path]]:
        """The names and files of a bucket, without links that lead out of it."""
        for parent, _, file_names in os.walk(folder):
            for file_name in file_names:
                path = Path(parent, file_name)
                if _is_file(path) and path.resolve().is_relative_to(folder):
                    yield path.relative_to(folder).as_posix(), path

    def _stored(self, uri: str, path: Path) -> StoredObject:
        status = path.stat()
        generation = status.st_mtime_ns // 1000
        updated = datetime.fromtimestamp(generation // 1_000_000, UTC)
        return StoredObject(
            uri=uri,
            path=path,
            size=status.st_size,
            updated=updated.replace(microsecond=generation % 1_000_000),
            generation=generation,
        )

    def _copy(self, file: Path, target: Path, uri: str) -> None:
        # No bucket's name begins with a dot, so a partly written file is in no listing.
        partial_folder = self.root / ".partial"
        try:
            _make_folder(partial_folder)
            _make_folder(target.parent)
            descriptor, partial = tempfile.mkstemp(dir=partial_folder)
            try:
                with os.fdopen(descriptor, "wb") as copy, file.open("rb") as original:
                    shutil.copyfileobj(original, copy)
                Path(partial).replace(target)
            finally:
                Path(partial).unlink(missing_ok=True)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as exc:
            raise ConfigError(
                f"{uri} cannot be stored: in a local bucket a name cannot be both an object and a "
                "folder"
            ) from exc
        except OSError as exc:
            raise ConfigError(f"{file} cannot be stored as {uri}: {exc}") from exc


def _split(uri: str) -> tuple[str, str]:
    """Split `gs://bucket/a/b` into `bucket` and `a/b`, and check both names."""
    if not uri.startswith("gs://"):
        raise ConfigError(f"{uri!r} is not an address in a bucket; write gs://bucket/name")
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    parts = bucket.split(".")
    if not _BUCKET_NAME.fullmatch(bucket) or max(map(len, parts)) > _MAX_BUCKET_PART:
        raise ConfigError(
            f"{bucket!r} in {uri!r} is not a bucket name: 3-63 lower case letters, digits, '-', "
            "'_' and '.', with a letter or digit at both ends"
        )
    components = name.removesuffix("/").split("/") if name else []
    if any(component in {"", ".", ".."} for component in components):
        raise ConfigError(f"{uri!r} has an empty, '.' or '..' part, which cannot be a file")
    if re.search(r"[\0\r\n\ud800-\udfff]", name):
        raise ConfigError(f"{uri!r} has a character that object names may not have")
    if len(name.encode()) > _MAX_OBJECT_NAME_BYTES:
        raise ConfigError(f"the name in {uri[:80]!r}... is longer than 1024 bytes")
    return bucket, name


def _named(files: Sequence[Path], *, recursive: bool) -> Sequence[tuple[Path, str]]:
    """The files, with the names that they get under the address."""
    named: list[tuple[Path, str]] = []
    for file in files:
        if not file.exists():
            raise ConfigError(f"no file {file}")
        if file.is_file():
            named.append((file, file.name))
        elif recursive and file.is_dir():
            inside = sorted(_inside_folder(file))
            folder = file.resolve().name
            named += [(each, f"{folder}/{each.relative_to(file).as_posix()}") for each in inside]
        else:
            raise ConfigError(
                f"{file} is not a file; name the files in it, such as {file}/*.jpg, or use "
                "--recursive to copy a folder with everything in it"
            )
    if not named:
        raise ConfigError("no files to put")
    return named


def _inside_folder(folder: Path) -> Iterator[Path]:
    """The files of a folder and of the folders in it. Links to folders are not followed.

    Raises:
        ConfigError: A link leads out of the folder: what it names may be nobody's business.
    """
    root = folder.resolve()
    for parent, folders, files in os.walk(folder):
        for path in (Path(parent, name) for name in (*folders, *files)):
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                raise ConfigError(
                    f"{path} is a link that leads out of {folder}: remove it, or name what it leads to"
                )
        yield from (path for name in files if _is_file(path := Path(parent, name)))


def _make_folder(path: Path) -> None:
    """Create a folder and those above it, for this user only."""
    if not path.is_dir():
        _make_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False
