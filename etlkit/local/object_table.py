"""Object tables: one row for each object of a local bucket.

Source: https://cloud.google.com/bigquery/docs/object-table-introduction#object_table_schema
"""

from __future__ import annotations

import json
import re
import tempfile
from typing import TYPE_CHECKING, Any

from etlkit.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from google.cloud import bigquery

    from etlkit.local.buckets import Buckets, StoredObject

# Sources: https://cloud.google.com/bigquery/docs/datasets#dataset-naming and
# https://cloud.google.com/bigquery/docs/tables#table_naming
_DATASET_ID = re.compile(r"[A-Za-z0-9_]{1,1024}")
_TABLE_ID = re.compile(r"[\w -]{1,1024}")


def create_object_table(
    client: bigquery.Client, table: str, uris: Sequence[str], buckets: Buckets
) -> int:
    """Make or replace an object table over local buckets.

    It is a plain table filled by one load job: readers see the old rows or the new ones. It shows
    the buckets as they are now; call again after a change. The dataset is created if missing.

    Args:
        client: Of the BigQuery that is to have the table.
        table: `dataset.table` or `project.dataset.table`.
        uris: Addresses of objects, `*` for any run of characters. An object that matches twice is
            one row.
        buckets: Where the objects are.

    Returns:
        The number of rows; 0 = nothing matches, and the table is empty.

    Raises:
        ConfigError: A name or an address is wrong, a bucket or a named object is not there, or
            the table is a view.
        google.api_core.exceptions.GoogleAPICallError: BigQuery refused.
    """
    from google.cloud import bigquery

    target = _table_reference(client, table)
    objects = _matching(uris, buckets)
    client.create_dataset(
        bigquery.DatasetReference(target.project, target.dataset_id), exists_ok=True
    )
    schema = _schema()
    if not objects or _has_other_columns(client, target, schema):
        client.delete_table(target, not_found_ok=True)
    if not objects:
        # A load job wants a file that is not empty.
        client.create_table(bigquery.Table(target, schema=schema))
        return 0
    config = bigquery.LoadJobConfig(
        schema=schema,
        source_format=bigquery.SourceFormat.NEWLINE_DELIMITED_JSON,
        write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE,
    )
    # Through a file: a bucket may hold any number of objects.
    with tempfile.TemporaryFile() as upload:
        for line in _json_lines(objects):
            upload.write(line)
        client.load_table_from_file(upload, target, rewind=True, job_config=config).result()
    return len(objects)


def _table_reference(client: bigquery.Client, table: str) -> bigquery.TableReference:
    from google.cloud import bigquery

    try:
        target = bigquery.TableReference.from_string(table, default_project=client.project)
    except ValueError as exc:
        raise ConfigError(f"{table!r} is not a table; write dataset.table") from exc
    if not _DATASET_ID.fullmatch(target.dataset_id) or not _TABLE_ID.fullmatch(target.table_id):
        raise ConfigError(
            f"{table!r} is not a table name; write dataset.table in letters, digits and '_'"
        )
    return target


def _has_other_columns(
    client: bigquery.Client, target: bigquery.TableReference, schema: list[bigquery.SchemaField]
) -> bool:
    """Whether a table is in the way: after a load the emulator would still name its old columns."""
    from google.api_core.exceptions import NotFound

    try:
        existing = client.get_table(target)
    except NotFound:
        return False
    if existing.table_type != "TABLE":
        raise ConfigError(f"{target} is a {existing.table_type}; drop it, or choose another name")
    return [field.name for field in existing.schema] != [field.name for field in schema]


def _matching(uris: Sequence[str], buckets: Buckets) -> Sequence[StoredObject]:
    if not uris:
        raise ConfigError("an object table needs at least one address, such as gs://bucket/*")
    found = {}
    for uri in uris:
        for stored in buckets.list(uri) if "*" in uri else [buckets.get(uri)]:
            found[stored.uri] = stored
    return list(found.values())


def _json_lines(objects: Sequence[StoredObject]) -> Iterator[bytes]:
    for stored in objects:
        row: dict[str, Any] = {
            "uri": stored.uri,
            "generation": stored.generation,
            "content_type": stored.content_type,
            "size": stored.size,
            "md5_hash": stored.md5_hash,
            "updated": stored.updated.isoformat(),
            # A file has no custom metadata.
            "metadata": [],
        }
        yield json.dumps(row).encode() + b"\n"


def _schema() -> list[bigquery.SchemaField]:
    from google.cloud.bigquery import SchemaField

    pair = [SchemaField("name", "STRING"), SchemaField("value", "STRING")]
    return [
        SchemaField("uri", "STRING"),
        SchemaField("generation", "INTEGER"),
        SchemaField("content_type", "STRING"),
        SchemaField("size", "INTEGER"),
        SchemaField("md5_hash", "STRING"),
        SchemaField("updated", "TIMESTAMP"),
        SchemaField("metadata", "RECORD", mode="REPEATED", fields=pair),
    ]
