"""Files that a client has compressed with gzip before it sends them with a load job.

Real BigQuery: it sees by the content that a CSV or JSON Lines file is compressed. dlt compresses all.
The emulator: it read the compressed bytes as text.

https://cloud.google.com/bigquery/docs/batch-loading-data#loading_compressed_and_uncompressed_data
"""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path
from typing import Any, Final
from zlib import error as ZlibError  # noqa: N812 - it is an exception

from bqemulator.api.routes import upload
from bqemulator.domain.errors import InvalidQueryError

from etlkit.local.bigquery.patches.table import PATCHES

_MAGIC: Final = b"\x1f\x8b"


def unpack(path: Path) -> None:
    """Replace a compressed file by its content. Others stay as they are.

    Raises:
        InvalidQueryError: Its content is damaged.
    """
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            return
    unpacked = path.with_name(f"{path.name}.unpacked")
    try:
        with gzip.open(path) as packed, unpacked.open("wb") as target:
            shutil.copyfileobj(packed, target)
        unpacked.replace(path)
    except (OSError, EOFError, ZlibError) as error:
        unpacked.unlink(missing_ok=True)
        raise InvalidQueryError(
            f"Error while reading data, error message: the gzip file is damaged: {error}"
        ) from error


def apply() -> None:
    """Unpack a file before its load job. Called after `loads`."""
    plain = upload._run_load  # noqa: SLF001

    async def run_load(*, media_path: str, **rest: Any) -> Any:
        unpack(Path(media_path))
        return await plain(media_path=media_path, **rest)

    PATCHES.replace("bqemulator.api.routes.upload:_run_load", run_load)
