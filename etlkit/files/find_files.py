"""Find the files of paths and patterns: on this machine, in buckets, on web servers."""

from __future__ import annotations

import glob
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from etlkit.errors import SourceError
from etlkit.files.file import CHANGED, CopiedFile, File, LocalFile
from etlkit.files.storage import BUCKETS, cloud_storage

_CHUNK_BYTES = 1 << 20


def find_files(
    paths: Sequence[str],
    environ: Mapping[str, str],
    *,
    headers: Mapping[str, str],
    timeout_s: float,
) -> list[File]:
    """Find files, in the order of `paths`; at least one.

    Args:
        paths: Paths, patterns and addresses, as in `CsvSource.path`.
        environ: May name the local folder for buckets, see `BUCKETS`.
        headers: Sent to web servers.
        timeout_s: See `CsvSource.timeout_s`.

    Raises:
        SourceError: No file matches a path or pattern, or the bucket cannot be reached.
        ConfigError: A package that is needed is not installed.
    """
    files: list[File] = []
    for path in paths:
        if path.startswith(("http://", "https://")):
            from etlkit.files.web_file import web_file

            files.append(web_file(path, headers, timeout_s))
        elif path.startswith("gs://"):
            root = environ.get(BUCKETS)
            files += _in_cloud(path, timeout_s) if root is None else _in_bucket(path, root)
        else:
            files += _on_disk(path)
    return files


def _on_disk(path: str) -> list[File]:
    found = _matches(Path(), path)
    if found:
        return [LocalFile(each, str(each)) for each in found]
    if Path(path).is_dir():
        raise SourceError(
            f"{path} is a folder; name its files, e.g. {path.rstrip('/')}/*.csv", stage="open"
        )
    what = "no file matches" if glob.has_magic(path) else "no file"
    raise SourceError(f"{what} {path} (in {Path.cwd().name}/)", stage="open")


def _in_bucket(uri: str, root: str) -> list[File]:
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    folder = Path(root, bucket)
    found = [each for each in _matches(folder, name) if each.resolve().is_relative_to(folder)]
    if not bucket or not name or not found:
        raise SourceError(
            f"no object {uri} in the local buckets; see what is there with: python -m etlkit.local "
            f"ls gs://{bucket or 'bucket'}/, or put files with: python -m etlkit.local put FILE… "
            f"gs://{bucket or 'bucket'}/",
            stage="open",
        )
    return [LocalFile(each, f"gs://{bucket}/{each.relative_to(folder)}") for each in found]


def _matches(folder: Path, pattern: str) -> list[Path]:
    """Files in the order of their names; only one if the pattern itself is the name of a file."""
    if (folder / pattern).is_file():
        return [folder / pattern]
    names = glob.glob(pattern, root_dir=folder, recursive=True)  # noqa: PTH207 - root_dir, recursive
    return [folder / name for name in sorted(names) if (folder / name).is_file()]


def _in_cloud(uri: str, timeout_s: float) -> list[File]:
    storage = cloud_storage(uri, timeout_s)
    with _errors_as_source_error(uri):
        names = sorted(storage.glob(uri)) if glob.has_magic(uri) else [uri.removeprefix("gs://")]
        infos = [storage.info(name) for name in names]
    files = [info for info in infos if info["type"] == "file"]
    if not files:
        raise SourceError(f"no object matches {uri}", stage="open")
    return [_cloud_file(storage, info) for info in files]


def _cloud_file(storage: Any, info: Mapping[str, Any]) -> CopiedFile:
    uri = f"gs://{info['name']}"

    def chunks() -> Generator[bytes, None, None]:
        with _errors_as_source_error(uri):
            with storage.open(info["name"], "rb") as stream:
                while chunk := stream.read(_CHUNK_BYTES):
                    yield chunk
            now = storage.info(info["name"])
        if now.get("generation") != info.get("generation"):
            raise SourceError(f"{uri} {CHANGED}", stage="read")

    return CopiedFile(uri, chunks)


class _errors_as_source_error:  # noqa: N801 - used as a statement
    """Turns gcsfs's errors into SourceError. gcsfs has already retried transient ones."""

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def __enter__(self) -> None:
        return

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is None or not isinstance(error, Exception) or isinstance(error, SourceError):
            return
        if isinstance(error, FileNotFoundError):
            text = f"no object {self._uri}; check bucket and name"
        else:
            text = (
                f"{self._uri} cannot be read ({type(error).__name__}): check that the account may "
                "read the bucket"
            )
        raise SourceError(text, stage="open") from error
