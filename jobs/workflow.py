"""The whole pipeline of photos: ask models side by side, then join, check, compare and show."""

from pathlib import Path

from etlkit import DataCheck, Task, TaskContext, Workflow, write_results
from jobs import (
    compare_models,
    labels,
    object_table,
    photo_results,
    resnet_model,
    resnet_predict,
    resnet_ranking,
    vision_labels,
    vision_long,
    vision_objects,
)

COMPARISON = Path("jobs/sql/show_comparison.sql")


def write_page(context: TaskContext) -> str:
    """Write one HTML file with the photos and what each model found; gives its path."""
    page = Path(context.variables["page"])
    page.parent.mkdir(parents=True, exist_ok=True)
    write_results(COMPARISON.read_text("utf-8"), page, settings=context.settings, title="Photos")
    return str(page)


job = Workflow(
    tasks=[
        Task("object_table", object_table.job),
        # A classifier that runs in SQL.
        Task("resnet_model", resnet_model.job),
        Task("labels", labels.job),
        Task("resnet_predict", resnet_predict.job, after=("object_table", "resnet_model")),
        Task("resnet_ranking", resnet_ranking.job, after=("resnet_predict", "labels")),
        # Cloud Vision, at the same time.
        Task("vision_objects", vision_objects.job, after="object_table"),
        Task("vision_long", vision_long.job, after="vision_objects"),
        Task("vision_labels", vision_labels.job, after="object_table"),
        # What they found, in one table.
        Task(
            "photo_results",
            photo_results.job,
            after=("resnet_ranking", "vision_long", "vision_labels"),
        ),
        Task(
            "all_classified",
            DataCheck(
                "SELECT uri FROM bqml_vision.photo_results WHERE IFNULL(ARRAY_LENGTH(classes), 0) = 0"
            ),
            after="photo_results",
        ),
        Task(
            "scores_in_range",
            DataCheck(
                """
                SELECT COUNTIF(found.score NOT BETWEEN 0 AND 1)
                FROM bqml_vision.photo_results CROSS JOIN UNNEST(classes) AS found
                """,
                "==",
                0,
            ),
            after="photo_results",
        ),
        Task(
            "compare_models",
            compare_models.job,
            after=("all_classified", "scores_in_range"),
        ),
        Task("page", write_page, after="compare_models"),
    ],
    # The values of the jobs' own variables, so that `--var` can change them.
    variables={
        **object_table.job.variables,
        **resnet_model.job.variables,
        **compare_models.job.variables,
        "page": ".etlkit/photos.html",
    },
)
