"""The photos of a bucket as an object table: the article's first statement."""

from etlkit import Datamart

job = Datamart(
    file="jobs/sql/object_table.sql",
    variables={"bucket": "bqml-vision", "connection": "us.bucket_connection"},
)
