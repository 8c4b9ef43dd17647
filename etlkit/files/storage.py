"""Objects of Cloud Storage, and of the folder that stands for it in the local world."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from etlkit.errors import ApiError, ConfigError, RetryableError, RowError

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
        raise ConfigError(
            f"{uri}: Cloud Storage needs gcsfs. In a checkout of etlkit: "
            "pip install -e '.[gcs]', or run with --local to use the local buckets"
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
    """Copy with gcsfs, which has already retried transient errors when it raises."""
    from gcsfs.retry import is_retriable

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
        if isinstance(error, TimeoutError) or is_retriable(error):
            raise RetryableError(
                f"Cloud Storage does not answer; {source} is not copied", code="unreachable"
            ) from error
        raise ApiError(
            f"Cloud Storage refuses to copy {source} to {target} ({type(error).__name__}): check that "
            "the account may read the one and write the other",
            service="storage",
        ) from error
