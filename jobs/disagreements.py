"""Route the photos that the models disagree about to a table, and copy them to a bucket for review."""

from etlkit import BigQuerySink, BigQuerySource, TransferJob
from transforms.copy_object import Etl

job = TransferJob(
    source=BigQuerySource("""
        SELECT *, REPLACE(uri, 'gs://', 'gs://$review_bucket$/disagreements/') AS copy_uri
        FROM bqml_vision.model_agreement
        WHERE agreement < $min_agreement$
        ORDER BY agreement, uri
    """),
    transform=Etl,
    sink=BigQuerySink("bqml_vision.disagreements", mode="replace"),
    variables={"review_bucket": "bqml-vision-review", "min_agreement": 0.5},
)
