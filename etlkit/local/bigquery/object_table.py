"""The command that makes an object table: the statement, with what is wrong said beforehand."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from etlkit.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.cloud import bigquery

    from etlkit.local.buckets import Buckets

# Sources: https://cloud.google.com/bigquery/docs/datasets#dataset-naming and
# https://cloud.google.com/bigquery/docs/tables#table_naming
_DATASET_ID = re.compile(r"[A-Za-z0-9_]{1,1024}")
_TABLE_ID = re.compile(r"[\w -]{1,1024}")


def create_object_table(
    client: bigquery.Client, table: str, uris: Sequence[str], buckets: Buckets
) -> int:
    """Make or replace an object table over local buckets, by `CREATE EXTERNAL TABLE`.

    It shows the buckets as they are at each query. The dataset is created if missing.

    Args:
        client: Of the BigQuery that is to have the table.
        table: `dataset.table` or `project.dataset.table`.
        uris: Addresses of objects, with one `*` at most for any run of characters. An object that
            matches twice is one row.
        buckets: Where the objects are.

    Returns:
        The number of rows now; 0 = nothing matches, and the table is empty.

    Raises:
        ConfigError: A name or an address is wrong, a bucket or a named object is not there, or
            something else has the table's name.
        google.api_core.exceptions.GoogleAPICallError: BigQuery refused.
    """
    from google.cloud import bigquery

    target = _table_reference(client, table)
    if not uris:
        raise ConfigError("an object table needs at least one address, such as gs://bucket/*")
    for uri in uris:
        _ = buckets.list(uri) if "*" in uri else buckets.get(uri)
    dataset = bigquery.DatasetReference(target.project, target.dataset_id)
    client.create_dataset(dataset, exists_ok=True)
    _refuse_other(client, target)
    listed = ", ".join(_literal(uri) for uri in uris)
    client.query_and_wait(
        f"CREATE OR REPLACE EXTERNAL TABLE `{target}` WITH CONNECTION DEFAULT "
        f"OPTIONS(object_metadata = 'SIMPLE', uris = [{listed}])"
    )
    ((num_rows,),) = client.query_and_wait(f"SELECT COUNT(*) FROM `{target}`")
    return int(num_rows)


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


def _refuse_other(client: bigquery.Client, target: bigquery.TableReference) -> None:
    from google.api_core.exceptions import NotFound

    try:
        existing = client.get_table(target)
    except NotFound:
        return
    if existing.table_type != "EXTERNAL":
        raise ConfigError(f"{target} is a {existing.table_type}; drop it, or choose another name")


def _literal(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
