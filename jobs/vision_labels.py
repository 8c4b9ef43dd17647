"""Ask Cloud Vision what the photos of the object table show: one row per photo."""

from etlkit import BigQuerySink, BigQuerySource, TransferJob
from transforms.vision_client import Etl

job = TransferJob(
    source=BigQuerySource("SELECT uri, updated FROM bqml_vision.object_table ORDER BY uri"),
    transform=Etl,
    sink=BigQuerySink("bqml_vision.vision_labels", mode="replace"),
)
