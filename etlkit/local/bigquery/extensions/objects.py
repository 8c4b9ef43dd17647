"""The objects of local buckets as rows: the functions that DuckDB calls for object tables.

Real BigQuery: an object table shows the current state of the bucket at each query, unless metadata
caching is on. The content (`data`) and the MD5 are read only if a query needs them.
"""

from __future__ import annotations

import json
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from etlkit.errors import ConfigError
from etlkit.local.bigquery.extensions import api_errors
from etlkit.local.bigquery.extensions.catalog_store import CatalogStore
from etlkit.local.bigquery.extensions.sql_functions import PythonFunction, declare
from etlkit.local.bigquery.patches.types import quote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from etlkit.local.buckets import Buckets, StoredObject

DATA: Final = "etlkit_object_data"
PATH: Final = "_etlkit_path"
AUTOMATIC_REFRESH: Final = timedelta(minutes=30)
"""BigQuery refreshes an automatic cache every 30 to 60 minutes.

https://cloud.google.com/bigquery/docs/metadata-caching-object-tables
"""

_ROW: Final = pa.struct(
    {
        "uri": pa.string(),
        "path": pa.string(),
        "generation": pa.int64(),
        "content_type": pa.string(),
        "size": pa.int64(),
        "md5": pa.string(),
    }
)
_ROWS: Final = (
    "STRUCT(uri VARCHAR, path VARCHAR, generation BIGINT, content_type VARCHAR, size BIGINT, "
    "md5 VARCHAR)[]"
)
_COLUMNS: Final = (
    "o.uri || '' AS uri, o.generation AS generation, o.content_type || '' AS content_type, "
    "o.size AS size, "
    "coalesce(o.md5, etlkit_object_md5(o.path, o.generation)) AS md5_hash, "
    "make_timestamptz(o.generation) AS updated, "
    'CAST([] AS STRUCT("name" VARCHAR, "value" VARCHAR)[]) AS metadata'
)


def rows_sql(spec: dict[str, Any], *, with_path: bool = False) -> str:
    """DuckDB SQL that returns the rows of an object table.

    Args:
        spec: The argument of `Objects.list_objects`.
        with_path: Whether to add the hidden column with the paths of the files.
    """
    # `|| ''` copies a text: DuckDB does not keep texts of Arrow alive in CASE or COALESCE.
    text = json.dumps(spec).replace("'", "''")
    hidden = f", o.path || '' AS {quote(PATH)}" if with_path else ""
    return f"SELECT {_COLUMNS}{hidden} FROM (SELECT unnest(etlkit_objects('{text}')) AS o)"


class Objects:
    """Answers DuckDB's questions about the objects of the local buckets."""

    def __init__(self, buckets: Buckets) -> None:
        self._buckets = buckets
        self._cursor: Any = None

    def connect(self, connection: Any) -> None:
        """The start hook: prepare to read caches of metadata."""
        # A function that the connection calls in the middle of a query cannot use that connection.
        self._cursor = connection.cursor()

    def declare_functions(self) -> None:
        """Declare the functions that DuckDB calls."""
        declare(
            python=[
                PythonFunction(
                    "etlkit_objects", self.tables, _ROWS, ["VARCHAR"], has_side_effects=True
                ),
                PythonFunction(
                    "etlkit_object_md5", self.md5, "VARCHAR", ["VARCHAR", "BIGINT"], is_by_row=True
                ),
                PythonFunction(DATA, self.content, "BLOB", ["VARCHAR"], is_by_row=True),
            ]
        )

    def tables(self, specs: pa.Array) -> pa.Array:
        """The rows of several object tables. As Arrow, because lists of dicts take 20 times as long."""
        rows = [self.list_objects(spec.as_py()) for spec in specs]
        return pa.array(rows, pa.list_(_ROW))

    def list_objects(self, spec: str) -> list[dict[str, Any]]:
        """The rows of an object table, from its metadata cache or from the buckets.

        Args:
            spec: A JSON object with `uris`, and for a table with metadata caching `name`, `mode` and
                `staleness_s`.
        """
        table = json.loads(spec)
        if table.get("mode") is None:
            return self._rows(table["uris"])
        store, name = CatalogStore(self._cursor), tuple(table["name"])
        cache = store.get("object_cache", name)
        (now,) = self._cursor.execute("SELECT epoch(now())").fetchone()
        age_s = now - cache["at"] if cache is not None else float("inf")
        if table["mode"] == "AUTOMATIC" and age_s >= AUTOMATIC_REFRESH.total_seconds():
            cache, age_s = self.refresh(store, name, table["uris"]), 0.0
        is_fresh = cache is not None and age_s <= table["staleness_s"]
        return list(cache["rows"]) if cache and is_fresh else self._rows(table["uris"])

    def refresh(self, store: CatalogStore, name: Any, uris: Sequence[str]) -> dict[str, Any]:
        """Replace the metadata cache of an object table, and return it."""
        rows = [{**row, "md5": self.md5(row["path"], 0)} for row in self._rows(uris)]
        (now,) = self._cursor.execute("SELECT epoch(now())").fetchone()
        cache = {"at": now, "rows": rows}
        store.put("object_cache", name, cache)
        return cache

    def matching(self, uris: Sequence[str]) -> list[StoredObject]:
        """The objects that match at least one of the addresses, without duplicates.

        Raises:
            NotFoundError: A bucket does not exist.
        """
        found: dict[str, StoredObject] = {}
        for uri in uris:
            try:
                listed = self._buckets.list(uri)
            except ConfigError as error:
                raise api_errors.not_found_uri(uri, str(error)) from error
            found |= {each.uri: each for each in listed if "*" in uri or each.uri == uri}
        return [*found.values()]

    def md5(self, path: str, generation: int) -> str:
        """The MD5 of an object's content, which is read only once unless the file changes."""
        del generation  # so that DuckDB calls this again after the object was overwritten
        return _md5(path, Path(path).stat().st_mtime_ns)

    def content(self, path: str | None) -> bytes | None:
        """The bytes of an object; None = an outer join found no object."""
        if path is None:
            return None
        root = self._buckets.root
        if not Path(path).resolve().is_relative_to(root):
            raise api_errors.invalid(f"{path} is not an object of a local bucket")
        try:
            return Path(path).read_bytes()
        except FileNotFoundError as error:
            uri = f"gs://{Path(path).relative_to(root).as_posix()}"
            raise api_errors.not_found_uri(uri, "it has been deleted") from error

    def _rows(self, uris: Sequence[str]) -> list[dict[str, Any]]:
        return [
            {
                "uri": each.uri,
                "path": str(each.path),
                "generation": each.generation,
                "content_type": each.content_type,
                "size": each.size,
                "md5": None,
            }
            for each in self.matching(uris)
        ]


@lru_cache(maxsize=100_000)
def _md5(path: str, mtime_ns: int) -> str:
    import base64
    import hashlib

    del mtime_ns  # only part of the cache's key
    with Path(path).open("rb") as stream:
        digest = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False))
    return base64.b64encode(digest.digest()).decode("ascii")
