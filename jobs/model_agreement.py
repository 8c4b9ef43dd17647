"""Compare the models: how far do they agree about each photo?"""

from etlkit import Datamart

job = Datamart(
    file="jobs/sql/model_agreement.sql",
    query_mode="insert",
    destination="bqml_vision.model_agreement",
    write_disposition="truncate",
    # Each model's five best labels count; below 0.01 the classifier guesses.
    variables={"max_rank": 5, "min_score": 0.01},
)
