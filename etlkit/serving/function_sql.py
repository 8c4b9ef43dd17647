"""The SQL of a remote function, and the commands around it, in the order in which they are run.

Sources: https://cloud.google.com/bigquery/docs/remote-functions#create_a_remote_function,
https://cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language#create_function_statement
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from etlkit.rows.columns import quoted

if TYPE_CHECKING:
    from etlkit.rows.columns import Column
    from etlkit.serving.signature import Signature

PLACEHOLDER: Final = "https://SERVICE-URL"
"""Stands for an address that is known only after the service is deployed."""

_ANSWER: Final = "etlkit_answer"
_CASTS: Final = {
    "STRING": "{text}",
    "BYTES": "FROM_BASE64({text})",
    "BOOL": "CAST({text} AS BOOL)",
    "JSON": "{json}",
    "GEOGRAPHY": "ST_GEOGFROMTEXT({text})",
}
"""How a value comes out of the answer. Other types are cast from their text, which also reads integers
beyond 2^53, NaN and infinity."""

_READ_ACCOUNT: Final = (
    'import json, sys; print(json.load(sys.stdin)["cloudResource"]["serviceAccountId"])'
)


@dataclass(frozen=True, kw_only=True)
class FunctionSql:
    """A remote function in BigQuery.

    Attributes:
        name: `dataset.function`, or `project.dataset.function`.
        signature: Its arguments.
        endpoint: The address of the service.
        connection: `location.name`, or `project.location.name`.
        max_batching_rows: Rows of a request, at most.
        output_schema: What the transform declares; None = nothing, so that the example shows the whole
            value.
        source: The columns of the job's source, for the example: those that the transform does not
            read pass by.
        query: The job's source query, for the example; None = it is not known.
    """

    name: str
    signature: Signature
    endpoint: str
    connection: str
    max_batching_rows: int
    output_schema: Sequence[Column] | None = None
    source: Sequence[Column]
    query: str | None = None

    def create(self) -> str:
        """The statement that creates it."""
        parameters = ", ".join(
            f"{quoted(name)} {kind}" for name, kind in self.signature.parameters()
        )
        return f"""\
CREATE OR REPLACE FUNCTION {quoted_path(self.name)}({parameters})
RETURNS JSON
REMOTE WITH CONNECTION {quoted_path(self.connection)}
OPTIONS (
  endpoint = {literal(self.endpoint)},
  max_batching_rows = {self.max_batching_rows},
  user_defined_context = [("columns", {literal(self.signature.text)})]
);
"""

    def example(self) -> str:
        """A query that calls it for each row and takes the answers apart."""
        call = f"{quoted_path(self.name)}({', '.join(self.signature.arguments())})"
        lines = [f'JSON_QUERY({_ANSWER}, "$.value") AS value']
        made: set[str] = set()
        if self.output_schema is not None:
            lines = [f"{_taken(column)} AS {quoted(column.name)}" for column in self.output_schema]
            made = {column.name for column in self.output_schema}
        sent = [quoted(column.name) for column in self.source if column.name not in made]
        columns = ",\n  ".join(
            [
                *sent,
                f'JSON_VALUE({_ANSWER}, "$.ok") = "true" AS ok',
                *lines,
                f'JSON_VALUE({_ANSWER}, "$.error.class") AS error_class',
                f'JSON_VALUE({_ANSWER}, "$.error.message") AS error_message',
                f'JSON_VALUE({_ANSWER}, "$.error.retryable") = "true" AS is_retryable',
            ]
        )
        return f"""\
SELECT
  {columns}
FROM (
  SELECT *, {call} AS {_ANSWER}
  FROM (
{_indented(self._source())}
  )
);
"""

    def _source(self) -> str:
        if self.query is not None:
            return self.query.strip().rstrip(";")
        columns = ", ".join(quoted(column.name) for column in self.source)
        return f"SELECT {columns} FROM your_dataset.your_table"


@dataclass(frozen=True, kw_only=True)
class CloudSteps:
    """The service on Cloud Run, and who may call it.

    Attributes:
        project: Google Cloud project; None = that of `gcloud config`.
        region: Of the service. BigQuery calls only services in the region of the dataset, or in a
            region of its multi-region.
        service: The service's name.
        connection: `location.name`.
        timeout_s: The platform's request timeout: above that of the service itself.
        concurrency: Requests that an instance gets at the same time.
        max_instances: Instances, at most; each has the job's rates and caps for itself.
        dockerfile: The command that prints the Dockerfile.
    """

    project: str | None
    region: str
    service: str
    connection: str
    timeout_s: int
    concurrency: int
    max_instances: int
    dockerfile: str

    def commands(self) -> list[str]:
        """The commands, with a heading before each."""
        project = self.project or '"$(gcloud config get-value project)"'
        location, _, name = self.connection.rpartition(".")
        location = location.rpartition(".")[2]
        return [
            "1. The image and the service, which only accounts with roles/run.invoker may call",
            f"     {self.dockerfile} > Dockerfile",
            f"     PROJECT={project}; REGION={self.region}; SERVICE={self.service}",
            '     gcloud run deploy "$SERVICE" --source=. --project="$PROJECT" --region="$REGION" \\',
            f"       --no-allow-unauthenticated --timeout={self.timeout_s} \\",
            f"       --concurrency={self.concurrency} --cpu=1 --memory=1Gi --no-cpu-throttling \\",
            f"       --max-instances={self.max_instances}",
            "2. Its address, for `endpoint` below",
            '     gcloud run services describe "$SERVICE" --project="$PROJECT" --region="$REGION" \\',
            '       --format="value(status.url)"',
            "3. The connection through which BigQuery calls it",
            f'     bq mk --connection --location={location} --project_id="$PROJECT" \\',
            f"       --connection_type=CLOUD_RESOURCE {name}",
            "4. Its account may call the service",
            '     ACCOUNT="$(bq show --format=json --connection \\',
            f'       "$PROJECT.{location}.{name}" | python3 -c \\',
            f"       '{_READ_ACCOUNT}')\"",
            '     gcloud run services add-iam-policy-binding "$SERVICE" --project="$PROJECT" \\',
            '       --region="$REGION" --member="serviceAccount:$ACCOUNT" --role=roles/run.invoker',
            "5. You need roles/bigquery.dataEditor on the dataset, roles/bigquery.jobUser and",
            "   roles/bigquery.connectionAdmin in the project. Who calls the function needs",
            "   roles/bigquery.jobUser, roles/bigquery.dataViewer on the dataset and",
            "   roles/bigquery.connectionUser on the connection.",
        ]


def quoted_path(path: str) -> str:
    """A dotted name, quoted."""
    return ".".join(quoted(part) for part in path.split("."))


def literal(text: str) -> str:
    """A text as a literal of GoogleSQL, which has JSON's escapes but for surrogate pairs."""
    return json.dumps(text, ensure_ascii=False)


def comment(lines: Sequence[str]) -> str:
    """Lines as comments of SQL."""
    return "".join(f"-- {line}\n" if line else "--\n" for line in lines)


def _taken(column: Column) -> str:
    """The expression that takes a column out of the answer."""
    path = literal(f"$.value.{json.dumps(column.name, ensure_ascii=False)}")
    if column.fields or column.mode == "REPEATED":
        return f"JSON_QUERY({_ANSWER}, {path})"
    form = _CASTS.get(column.type, f"CAST({{text}} AS {column.type})")
    return form.format(text=f"JSON_VALUE({_ANSWER}, {path})", json=f"JSON_QUERY({_ANSWER}, {path})")


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
