"""Create an object table over the photos of a bucket."""

from etlkit import Datamart

job = Datamart(
    file="jobs/sql/object_table.sql",
    variables={"bucket": "bqml-vision", "connection": "us.bucket_connection"},
)
