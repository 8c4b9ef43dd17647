"""Put the best labels of each photo of the object table side by side in columns."""

from etlkit import BigQuerySink, BigQuerySource, TransferJob
from transforms.vision_wide import Etl

job = TransferJob(
    source=BigQuerySource("SELECT uri FROM bqml_vision.object_table ORDER BY uri"),
    transform=Etl,
    sink=BigQuerySink("bqml_vision.vision_labels_wide", mode="replace"),
)
