"""What does the classifier say of each photo? Its 1001 scores, one row a photo."""

from etlkit import Datamart

job = Datamart(
    file="jobs/sql/resnet_predict.sql",
    query_mode="insert",
    destination="bqml_vision.resnet_predictions",
    write_disposition="truncate",
)
