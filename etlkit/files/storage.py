"""Objects of Cloud Storage, and of the folder that stands for it in the local world."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from stat import S_ISREG
from typing import Any

from etlkit.errors import ApiError, RetryableError, RowError, missing_packages

BUCKETS = "ETLKIT_BUCKETS"
"""Names the folder that stands for Cloud Storage: `gs://bucket/x` is the file `bucket/x` in it."""


def cloud_storage(uri: str, timeout_s: float) -> Any:
    """Cloud Storage through gcsfs, with Google's default credentials.

    Args:
        uri: What it is needed for, for the message.
        timeout_s: Deadline of each request.

    Raises:
        ConfigError: gcsfs is not installed.
    """
    try:
        # The class in gcsfs.core uses only REST; the one in the package's root also uses gRPC.
        from gcsfs.core import GCSFileSystem
    except ImportError:
        raise missing_packages(
            f"{uri}: Cloud Storage needs gcsfs, or --local, which uses the local buckets", "gcs"
        ) from None
    return GCSFileSystem(requests_timeout=timeout_s, use_listings_cache=False)


def copy_object(
    source: str, target: str, *, environ: Mapping[str, str] = os.environ, timeout_s: float = 60.0
) -> None:
    """Copy an object to another address; Cloud Storage copies it without a download.

    A target that is there is replaced. Readers see all of a copy or none of it, so it may be repeated.

    Args:
        source: `gs://bucket/name`.
        target: The same, of the copy. Its bucket must exist on Google Cloud; a local one is made.
        environ: May name the local folder for buckets, see `BUCKETS`.
        timeout_s: Deadline of each request to Cloud Storage.

    Raises:
        RowError: There is no object `source`, or one of the addresses is none of an object.
        ApiError: The account may not read one or write the other, or the target's bucket is missing.
        RetryableError: Cloud Storage did not answer, also after gcsfs's retries.
        ConfigError: gcsfs is not installed.
    """
    for uri in (source, target):
        _check_object(uri)
    root = environ.get(BUCKETS)
    if root is None:
        _copy_in_cloud(cloud_storage(source, timeout_s), source, target)
    else:
        _copy_on_disk(Path(root).resolve(), source, target)


def read_object(
    uri: str, *, max_bytes: int, environ: Mapping[str, str] = os.environ, timeout_s: float = 60.0
) -> bytes:
    """Read a small object.

    Args:
        uri: `gs://bucket/name`; every character of the name stands for itself.
        max_bytes: A larger object is not read.
        environ: May name the local folder for buckets, see `BUCKETS`.
        timeout_s: Deadline of each request to Cloud Storage.

    Raises:
        RowError: There is no such object, it is too large, or the address is none of an object.
        ApiError: The account may not read it.
        RetryableError: Cloud Storage did not answer, also after gcsfs's retries.
        ConfigError: gcsfs is not installed.
    """
    _check_object(uri)
    root = environ.get(BUCKETS)
    if root is not None:
        return _read_on_disk(_local_path(Path(root).resolve(), uri), uri, max_bytes)
    storage = cloud_storage(uri, timeout_s)
    try:
        _check_size(uri, int(storage.info(uri)["size"]), max_bytes)
        content: bytes = storage.cat_file(uri)
    except FileNotFoundError:
        raise RowError(f"no object {uri}") from None
    except RowError:
        raise
    except Exception as error:
        raise _refusal(error, f"read {uri}", "read it") from error
    return content


def read_bucket_file(path: str, *, max_bytes: int, root: str) -> bytes:
    """Read a small file of the local buckets by its path.

    Args:
        path: A path; a relative one begins in `root`.
        max_bytes: A larger file is not read.
        root: The folder of the local buckets. Files outside of it are not read, also through links.

    Raises:
        RowError: It is not in the folder, is no file, or is too large.
    """
    folder = Path(root).resolve()
    try:
        file = (folder / path).resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise RowError(f"{path!r} cannot be a file ({type(error).__name__})") from None
    if not file.is_relative_to(folder):
        raise RowError(f"{path!r} is not in the local buckets")
    return _read_on_disk(file, path, max_bytes)


def _read_on_disk(file: Path, name: str, max_bytes: int) -> bytes:
    try:
        found = file.stat()
        if not S_ISREG(found.st_mode):
            raise RowError(f"no object {name} in the local buckets")
        _check_size(name, found.st_size, max_bytes)
        return file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise RowError(f"no object {name} in the local buckets") from None
    except (OSError, ValueError) as error:  # also a name that no file can have
        raise RowError(f"{name} cannot be read ({type(error).__name__})") from None


def _check_size(name: str, num_bytes: int, max_bytes: int) -> None:
    if num_bytes > max_bytes:
        raise RowError(f"{name} has {num_bytes:,} bytes; at most {max_bytes:,} are read")


def _check_object(uri: str) -> None:
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    if not uri.startswith("gs://") or not bucket or not name or name.endswith("/"):
        raise RowError(f"{uri!r} names no object; it must be gs://bucket/name")


def _copy_on_disk(root: Path, source: str, target: str) -> None:
    original, copy = (_local_path(root, uri) for uri in (source, target))
    # No bucket's name begins with a dot, so a partly written file is in no listing.
    partial_folder = root / ".partial"
    try:
        partial_folder.mkdir(parents=True, exist_ok=True)
        copy.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=partial_folder) as folder:
            partial = Path(folder, "copy")
            shutil.copyfile(original, partial)
            partial.replace(copy)
    except FileNotFoundError:
        raise RowError(f"no object {source} in the local buckets") from None
    except OSError as error:
        raise RowError(f"{source} cannot be copied to {target}: {error.strerror}") from error


def _local_path(root: Path, uri: str) -> Path:
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    path = root / bucket / name
    if (root / bucket).parent != root or not path.resolve().is_relative_to(root / bucket):
        raise RowError(f"{uri!r} leads out of its bucket")
    return path


def _copy_in_cloud(storage: Any, source: str, target: str) -> None:
    try:
        storage.cp_file(source, target)
    except FileNotFoundError:
        if storage.exists(source):
            raise ApiError(
                f"the bucket of {target} does not exist; create it in the location of {source}",
                service="storage",
            ) from None
        raise RowError(f"no object {source}") from None
    except Exception as error:
        doing = f"copy {source} to {target}"
        raise _refusal(error, doing, "read the one and write the other") from error


def _refusal(error: Exception, doing: str, need: str) -> ApiError | RetryableError:
    """What gcsfs's error means. It has already retried transient errors when it raises."""
    from gcsfs.retry import is_retriable

    if isinstance(error, TimeoutError) or is_retriable(error):
        return RetryableError(
            f"Cloud Storage does not answer, so etlkit could not {doing}", code="unreachable"
        )
    return ApiError(
        f"Cloud Storage refuses to {doing} ({type(error).__name__}): check that the account may {need}",
        service="storage",
    )
