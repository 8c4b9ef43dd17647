"""Collect what each model says about each photo in one long table: the same columns for every model."""

from etlkit import Datamart

job = Datamart(
    file="jobs/sql/model_answers.sql",
    query_mode="insert",
    destination="bqml_vision.model_answers",
    write_disposition="truncate",
)
