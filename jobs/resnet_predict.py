"""Classify each photo: one row per photo, with 1001 scores."""

from etlkit import Datamart

job = Datamart(
    file="jobs/sql/resnet_predict.sql",
    query_mode="insert",
    destination="bqml_vision.resnet_predictions",
    write_disposition="truncate",
)
