"""Load the names of the classifier's 1001 classes, from a CSV file without a header.

Set `ETLKIT_LABELS` to use another list: a file, `gs://bucket/name` or `https://host/name`.
"""

import os
from pathlib import Path

import etlkit
from etlkit import BigQuerySink, CsvSource, EtlBase, TransferJob

PACKAGED = Path(etlkit.__file__).parent / "local" / "models" / "imagenet_labels_1001.csv"


class Etl(EtlBase):
    """Pass every row through: no column is read."""

    columns = ()

    def transform_row(self, row: etlkit.Row) -> etlkit.Row:
        """Return the row unchanged."""
        return row


job = TransferJob(
    # Without a header, the columns get BigQuery's names: int64_field_0 and string_field_1.
    source=CsvSource(os.environ.get("ETLKIT_LABELS", str(PACKAGED)), header=False),
    transform=Etl,
    sink=BigQuerySink("bqml_vision.label", mode="replace", create_dataset=True),
)
