"""The classifier's 1001 classes, from a list without a header, as `bqml_vision.label`.

`ETLKIT_LABELS` names another list: a file, `gs://bucket/name` or `https://host/name`.
"""

import os
from pathlib import Path

import etlkit
from etlkit import BigQuerySink, CsvSource, EtlBase, TransferJob

PACKAGED = Path(etlkit.__file__).parent / "local" / "models" / "imagenet_labels_1001.csv"


class Etl(EtlBase):
    """Leaves every row as it is: no column is read, so all pass through."""

    columns = ()

    def transform_row(self, row: etlkit.Row) -> etlkit.Row:
        """Nothing to do."""
        return row


job = TransferJob(
    # The columns get BigQuery's own names, int64_field_0 and string_field_1.
    source=CsvSource(os.environ.get("ETLKIT_LABELS", str(PACKAGED)), header=False),
    transform=Etl,
    sink=BigQuerySink("bqml_vision.label", mode="replace", create_dataset=True),
)
