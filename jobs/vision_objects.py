"""Ask Cloud Vision which objects are in the photos of the object table: one row per photo."""

from etlkit import BigQuerySink, BigQuerySource, TransferJob
from transforms.vision_rest import Etl

job = TransferJob(
    source=BigQuerySource("""
        SELECT uri, generation, content_type, size, md5_hash, updated
        FROM bqml_vision.object_table
        ORDER BY uri
    """),
    transform=Etl,
    sink=BigQuerySink("bqml_vision.vision_objects", mode="replace"),
)
