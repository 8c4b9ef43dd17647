"""The projects that `etlkit init` can begin with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_RUN = "etlkit run jobs.{job} --local"
_SQL = 'etlkit local sql "{sql}"'


@dataclass(frozen=True)
class Project:
    """A template of a project.

    Attributes:
        about: What its job does, in a sentence.
        job: The module in `jobs` that a reader runs first.
        commands: Shell commands that run it on this machine and show the table.
    """

    about: str
    job: str
    commands: Sequence[str]


PROJECTS: Final = {
    "blank": Project(
        "Greets the people of a query: one transform, one job, and their tests.",
        "greet",
        (_RUN.format(job="greet"), _SQL.format(sql="SELECT * FROM demo.greetings")),
    ),
    "rest": Project(
        "Asks a web API about each customer. `stand_in.py` answers like the API, on this machine.",
        "enrich",
        (
            "python stand_in.py " + _RUN.format(job="enrich"),
            _SQL.format(sql="SELECT * FROM demo.customers ORDER BY customer_id LIMIT 5"),
        ),
    ),
    "sql": Project(
        "Computes a table with SQL inside BigQuery, checks it, and replaces it in one step.",
        "sales_by_day",
        (
            _RUN.format(job="orders"),
            _RUN.format(job="sales_by_day"),
            _SQL.format(sql="SELECT * FROM demo.sales_by_day"),
        ),
    ),
    "vision": Project(
        "Asks Cloud Vision which objects are on the photos of a bucket. On this machine, a small model "
        "answers.",
        "objects",
        (
            "etlkit local put photos/*.jpg gs://my-photos/",
            "etlkit local object-table demo.photos 'gs://my-photos/*'",
            _RUN.format(job="objects"),
            "etlkit local sql --file jobs/sql/show_objects.sql",
        ),
    ),
}
"""By the name that `--template` takes."""
