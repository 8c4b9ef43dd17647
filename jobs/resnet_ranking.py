"""Find the five best classes of each photo, with their names."""

from etlkit import Datamart

job = Datamart(
    file="jobs/sql/resnet_ranking.sql",
    query_mode="insert",
    destination="bqml_vision.resnet_ranking",
    write_disposition="truncate",
)
