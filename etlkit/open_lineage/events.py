"""The events of a run, in the client's own classes. Nothing is sent here."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.generated.column_lineage_dataset import (
    ColumnLineageDatasetFacet,
    Fields,
    InputField,
    Transformation,
)
from openlineage.client.generated.data_quality_assertions_dataset import (
    Assertion,
    DataQualityAssertionsDatasetFacet,
)
from openlineage.client.generated.datasource_dataset import DatasourceDatasetFacet
from openlineage.client.generated.error_message_run import ErrorMessageRunFacet
from openlineage.client.generated.job_type_job import JobTypeJobFacet
from openlineage.client.generated.output_statistics_output_dataset import (
    OutputStatisticsOutputDatasetFacet,
)
from openlineage.client.generated.parent_run import Job as ParentJob
from openlineage.client.generated.parent_run import ParentRunFacet
from openlineage.client.generated.parent_run import Run as ParentOf
from openlineage.client.generated.processing_engine_run import ProcessingEngineRunFacet
from openlineage.client.generated.schema_dataset import (
    SchemaDatasetFacet,
    SchemaDatasetFacetFields,
)
from openlineage.client.generated.source_code_location_job import SourceCodeLocationJobFacet
from openlineage.client.generated.sql_job import SQLJobFacet

from etlkit._version import __version__
from etlkit.api.checks import as_check
from etlkit.engine.code_files import place_within_project
from etlkit.errors import CheckFailedError, without_keys

if TYPE_CHECKING:
    from etlkit.api.report import Report
    from etlkit.api.run_watch import WatchedRun
    from etlkit.open_lineage.facts import Facts, Table

PRODUCER = f"etlkit/{__version__}"
"""The address of a project is asked for here; ours has none that stays."""

BIGQUERY = "bigquery"
"""The namespace of BigQuery's tables: https://openlineage.io/docs/spec/naming"""

_NAMESPACE = uuid.UUID("6f1f4e0e-6a0c-5d3b-9a55-6b6f2a1d7c11")
_TYPES = {"transfer": "TRANSFER", "datamart": "QUERY", "workflow": "DAG"}
_END = {"published": RunState.COMPLETE, "interrupted": RunState.ABORT}
_MAX_SQL_CHARS = 100_000


def run_uuid(run_id: str) -> str:
    """The id of a run for OpenLineage, which wants a UUID: the same for each attempt at it."""
    return str(uuid.uuid5(_NAMESPACE, run_id))


class Events:
    """Makes the events of one run.

    Args:
        run: What is known of it; it grows while the run lasts.
        namespace: Of jobs.
    """

    def __init__(self, run: WatchedRun, namespace: str) -> None:
        self._run = run
        self._namespace = namespace

    def start(self) -> RunEvent:
        """The run has begun."""
        return self._event(RunState.START, (), (), {})

    def running(self, facts: Facts) -> RunEvent:
        """What it reads and where it writes to are known."""
        return self._event(
            RunState.RUNNING, _inputs(facts), _outputs(facts, None, with_columns=False), {}
        )

    def end(self, facts: Facts, report: Report, error: BaseException | None) -> list[RunEvent]:
        """It has ended. Then also how its checks have ended, as a job of their own."""
        state = _END.get(report.state, RunState.FAIL)
        facets: dict[str, Any] = {}
        if error is not None:
            text = without_keys(str(error) or type(error).__name__)
            facets["errorMessage"] = ErrorMessageRunFacet(text, "PYTHON", producer=PRODUCER)
        rows = getattr(report, "rows_published", None) if state is RunState.COMPLETE else None
        made = self._event(state, _inputs(facts), _outputs(facts, rows, with_columns=True), facets)
        return [made, *self._checks(facts, error, is_complete=state is RunState.COMPLETE)]

    def _event(
        self,
        state: RunState,
        inputs: Sequence[InputDataset],
        outputs: Sequence[OutputDataset],
        facets: Mapping[str, Any],
    ) -> RunEvent:
        run_facets: dict[str, Any] = {
            "processing_engine": ProcessingEngineRunFacet(__version__, "etlkit", producer=PRODUCER),
            **self._parent(),
            **facets,
        }
        return RunEvent(
            eventTime=datetime.now(UTC).isoformat(),
            producer=PRODUCER,
            run=Run(run_uuid(self._run.run_id), run_facets),
            job=Job(self._namespace, self._run.job_name, self._job_facets()),
            eventType=state,
            inputs=list(inputs),
            outputs=list(outputs),
        )

    def _parent(self) -> dict[str, Any]:
        parent = self._run.parent
        if parent is None:
            return {}
        job = ParentJob(self._namespace, parent.job or "workflow")
        return {"parent": ParentRunFacet(ParentOf(run_uuid(parent.run_id)), job, producer=PRODUCER)}

    def _job_facets(self) -> dict[str, Any]:
        run = self._run
        facets: dict[str, Any] = {
            "jobType": JobTypeJobFacet("BATCH", "ETLKIT", _TYPES[run.kind], producer=PRODUCER)
        }
        if run.statements:
            text = without_keys(";\n".join(run.statements))[:_MAX_SQL_CHARS]
            facets["sql"] = SQLJobFacet(text, "bigquery", producer=PRODUCER)
        place = place_within_project(getattr(run.job, "transform", None))
        if place is not None:
            facets["sourceCodeLocation"] = SourceCodeLocationJobFacet(
                "git", f"file:{place}", path=place, version=run.revision, producer=PRODUCER
            )
        return facets

    def _checks(
        self, facts: Facts, error: BaseException | None, *, is_complete: bool
    ) -> list[RunEvent]:
        """Checks of a run as a job that reads its target: there OpenLineage has assertions."""
        checks = [as_check(each) for each in getattr(self._run.job, "checks", ())]
        is_refused = isinstance(error, CheckFailedError)
        if not checks or not facts.outputs or not (is_complete or is_refused):
            return []
        told = []
        for check in checks:
            failed = is_refused and check.title in str(error)
            if is_complete or failed:  # those behind the first that fails have not run
                told.append(Assertion(without_keys(check.title)[:200], success=not failed))
        name = next(iter(facts.outputs))
        facet = DataQualityAssertionsDatasetFacet(told, producer=PRODUCER)
        dataset = InputDataset(BIGQUERY, name, {"dataQualityAssertions": facet})
        parent = ParentRunFacet(
            ParentOf(run_uuid(self._run.run_id)),
            ParentJob(self._namespace, self._run.job_name),
            producer=PRODUCER,
        )
        job = Job(self._namespace, f"{self._run.job_name}.checks")
        run = Run(run_uuid(f"{self._run.run_id}:checks"), {"parent": parent})
        ends = RunState.COMPLETE if is_complete else RunState.FAIL
        return [
            RunEvent(
                eventTime=datetime.now(UTC).isoformat(),
                producer=PRODUCER,
                run=run,
                job=job,
                eventType=state,
                inputs=[dataset] if state is ends else [],
                outputs=[],
            )
            for state in (RunState.START, ends)
        ]


def _inputs(facts: Facts) -> list[InputDataset]:
    return [
        InputDataset(BIGQUERY, name, facets=_facets(table)) for name, table in facts.inputs.items()
    ]


def _outputs(facts: Facts, rows: int | None, *, with_columns: bool) -> list[OutputDataset]:
    made = []
    for name, table in facts.outputs.items():
        facets = _facets(table)
        if with_columns and facts.columns.get(name):
            facets["columnLineage"] = _column_lineage(facts.columns[name])
        counted: dict[str, Any] = {}
        if rows is not None:
            counted["outputStatistics"] = OutputStatisticsOutputDatasetFacet(
                rows, producer=PRODUCER
            )
        made.append(OutputDataset(BIGQUERY, name, counted, facets=facets))
    return made


def _facets(table: Table) -> dict[str, Any]:
    facets: dict[str, Any] = {
        "dataSource": DatasourceDatasetFacet(BIGQUERY, BIGQUERY, producer=PRODUCER)
    }
    if table.fields:
        facets["schema"] = SchemaDatasetFacet(list(map(_field, table.fields)), producer=PRODUCER)
    return facets


def _field(field: Mapping[str, Any]) -> SchemaDatasetFacetFields:
    kind = str(field["type"])
    if field.get("mode") == "REPEATED":
        kind = f"ARRAY<{kind}>"
    inner = list(map(_field, field.get("fields", ())))
    return SchemaDatasetFacetFields(
        str(field["name"]), kind, field.get("description"), fields=inner
    )


def _column_lineage(
    columns: Mapping[str, Mapping[tuple[str, str], str]],
) -> ColumnLineageDatasetFacet:
    fields = {
        name: Fields(
            [
                InputField(BIGQUERY, table, column, [Transformation("DIRECT", how)])
                for (table, column), how in sorted(sources.items())
            ]
        )
        for name, sources in columns.items()
    }
    return ColumnLineageDatasetFacet(fields, producer=PRODUCER)
