from datetime import UTC, datetime
from types import SimpleNamespace

import duckdb
import pytest
from bqemulator.catalog.models import TableMeta
from bqemulator.domain.errors import NotFoundError

from etlkit.local.bigquery.patches.table_resource import TableResources

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_table_that_is_just_made_or_dropped_is_not_there():
    """The catalog knows it, and its rows are not there: another statement is at it."""
    with duckdb.connect() as engine:
        catalog = SimpleNamespace(get_dataset=lambda *_: None)
        resource = TableResources(SimpleNamespace(engine=engine, catalog=catalog))
        times = {"creation_time": NOW, "last_modified_time": NOW}
        meta = TableMeta(project_id="p", dataset_id="d", table_id="t", etag="e", **times)
        with pytest.raises(NotFoundError, match=r"Not found: table:p\.d\.t"):
            resource.to_rest(meta)
