"""Turn Vision's JSON answers from `jobs.vision_objects` into one row per object found."""

from etlkit import Datamart

job = Datamart(
    file="jobs/sql/vision_long.sql",
    query_mode="insert",
    destination="bqml_vision.vision_objects_long",
    write_disposition="truncate",
)
