"""Join all results: one row per photo, with what each model found."""

from etlkit import Datamart

job = Datamart(
    file="jobs/sql/photo_results.sql",
    query_mode="insert",
    destination="bqml_vision.photo_results",
    write_disposition="truncate",
)
