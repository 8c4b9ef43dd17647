"""Load jobs.

Real BigQuery: CSV files are read with the options of the job, and addresses may have a `*`. A job adds
all of its rows or none; with WRITE_TRUNCATE its schema replaces that of the table. `outputRows` counts
the rows of the job. An upload runs under the job id that the client sends, which cannot be used twice.
The emulator: it used the first row of every CSV file as a header, did not support `*`, kept the old
columns, counted the rows of the table, and gave uploads other job ids.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from bqemulator.api.routes import upload
from bqemulator.domain.errors import AlreadyExistsError, InvalidQueryError
from bqemulator.jobs import executor
from bqemulator.storage.sql_identifiers import quoted_table_ref

from etlkit.errors import ConfigError
from etlkit.local.bigquery.patches import csv_files
from etlkit.local.bigquery.patches.csv_files import CsvOptions
from etlkit.local.bigquery.patches.locations import LOCATIONS
from etlkit.local.bigquery.patches.sandbox import UPLOADS
from etlkit.local.bigquery.patches.table import PATCHES
from etlkit.local.bigquery.patches.transaction import Transaction
from etlkit.local.bigquery.patches.work import interruptible
from etlkit.local.bigquery.rules.locations import in_location_of_job
from etlkit.local.bigquery.rules.registry import Asked, ask
from etlkit.local.bigquery.rules.writes import Written
from etlkit.local.buckets import Buckets

_REFERENCE: Final = "jobReference"
_wanted_ids: Final[list[str]] = []


async def execute_load_job(project_id: str, job_id: str, config: dict[str, Any], ctx: Any) -> Any:
    """Run a load job. If it fails, it changes nothing."""
    load = dict(config.get("load", {}))
    load["sourceUris"] = _expanded(load.get("sourceUris", []), ctx)
    name = _destination(load, project_id)
    dataset = ctx.catalog.get_dataset(*name[:2])
    if dataset is not None:
        in_location_of_job(*name[:2], dataset.location)
    transaction = Transaction(ctx, is_implicit=True)
    try:
        with interruptible():
            before = _prepare(load, name, ctx)
            meta = await _plain_execute(project_id, job_id, {**config, "load": load}, ctx)
        _check(name, ctx)
    except BaseException:
        transaction.rollback()
        raise
    transaction.commit()
    num_rows = int(meta.statistics["load"]["outputRows"]) - before
    statistics = {"load": {**meta.statistics["load"], "outputRows": str(num_rows)}}
    return meta.model_copy(update={"statistics": statistics, "configuration": config})


def _check(name: tuple[str, str, str], ctx: Any) -> None:
    """Let the rules refuse the table, or the rows that the job has added."""
    table = ctx.catalog.get_table(*name)
    if table is not None:
        ask(Asked.DEFINITION, table, None)
        ask(Asked.WRITTEN, Written(table, ctx.engine))


def _prepare(load: dict[str, Any], name: tuple[str, str, str], ctx: Any) -> int:
    """Drop the table if the job replaces its schema. Returns how many rows the table keeps."""
    meta = ctx.catalog.get_table(*name)
    if meta is None:
        return 0
    if meta.table_type in {"EXTERNAL", "VIEW"}:
        raise InvalidQueryError(
            f"{name[0]}:{name[1]}.{name[2]} is not allowed for this operation because it is "
            f"currently a {meta.table_type}."
        )
    table = quoted_table_ref(*name)
    if load.get("writeDisposition") != "WRITE_TRUNCATE":
        (count,) = ctx.engine.execute(f"SELECT count(*) FROM {table}").fetchone()
        return int(count)
    brings_schema = load.get("autodetect") or (load.get("schema") or {}).get("fields")
    if brings_schema and load.get("createDisposition") != "CREATE_NEVER":
        ctx.engine.execute(f"DROP TABLE {table}")
        ctx.catalog.delete_table(*name)
    return 0


def _destination(load: dict[str, Any], project_id: str) -> tuple[str, str, str]:
    target = load.get("destinationTable", {})
    project = target.get("projectId", project_id)
    return project, target.get("datasetId", ""), target.get("tableId", "")


def _expanded(uris: list[str], ctx: Any) -> list[str]:
    """The addresses, with those that have a `*` replaced by the addresses of the matching files."""
    found: list[str] = []
    for uri in uris:
        if not uri.startswith("gs://") or "*" not in uri:
            found.append(uri)
            continue
        try:
            listed = Buckets(Path(ctx.settings.gcs_local_root)).list(uri)
        except ConfigError as error:
            raise InvalidQueryError(f"Not found: URI {uri}: {error}") from error
        if not listed:
            raise InvalidQueryError(f"Not found: URI {uri} matches no object")
        found += [each.uri for each in listed]
    return found


def _load_path(path: str, job: Any, ctx: Any) -> None:
    if job.source_format != "CSV":
        _plain_load_path(path, job, ctx)
        return
    load = job.raw_config
    options = CsvOptions.of_load(load)
    if load.get("autodetect"):
        detected = csv_files.detect(ctx.engine.connection, path, options)
        options = replace(options, skip=detected.skip)
    csv_files.load(ctx.engine, path, job.target_ref, options)


def _create_destination(**wanted: Any) -> None:
    """Create the destination. If it is from a CSV file with autodetect, it gets the file's columns."""
    load = wanted["load_config"]
    has_schema = (load.get("schema") or {}).get("fields")
    is_csv = load.get("sourceFormat", "CSV").upper() == "CSV"
    if is_csv and not has_schema and load.get("autodetect") and load.get("sourceUris"):
        ctx = wanted["ctx"]
        path = executor._resolve_uri(load["sourceUris"][0], ctx)  # noqa: SLF001
        executor._validate_local_path(path)  # noqa: SLF001
        options = CsvOptions.of_load(load)
        fields = csv_files.detect(ctx.engine.connection, path, options).fields
        wanted["load_config"] = {**load, "schema": {"fields": fields}}
    _plain_create_destination(**wanted)


def _configuration(envelope: dict[str, Any]) -> dict[str, Any]:
    """Keep the job id of an upload until its job runs."""
    return {**_plain_configuration(envelope), _REFERENCE: envelope.get(_REFERENCE) or {}}


async def _run_load(*, project_id: str, configuration: dict[str, Any], **rest: Any) -> Any:
    plain = dict(configuration)
    job_id = plain.pop(_REFERENCE, {}).get("jobId")
    if job_id:
        if rest["ctx"].catalog.get_job(project_id, job_id) is not None:
            location = LOCATIONS.of(job_id)
            raise AlreadyExistsError(f"Already Exists: Job {project_id}:{location}.{job_id}")
        _wanted_ids.append(job_id)
    UPLOADS.add(rest["media_path"])
    try:
        return await _plain_run_load(project_id=project_id, configuration=plain, **rest)
    finally:
        UPLOADS.discard(rest["media_path"])
        _wanted_ids.clear()


def _new_job_id() -> str:
    return _wanted_ids.pop() if _wanted_ids else str(_plain_new_job_id())


_plain_execute: Any = executor.execute_load_job
_plain_load_path: Any = executor._load_path_into_target  # noqa: SLF001
_plain_create_destination: Any = executor._maybe_create_load_destination  # noqa: SLF001
_plain_configuration: Any = upload._load_configuration_from_envelope  # noqa: SLF001
_plain_run_load: Any = upload._run_load  # noqa: SLF001
_plain_new_job_id: Any = upload._new_job_id  # noqa: SLF001


def apply() -> None:
    """Replace the parts of load jobs and uploads."""
    PATCHES.replace("bqemulator.jobs.executor:execute_load_job", execute_load_job)
    PATCHES.replace("bqemulator.api.routes.jobs:execute_load_job", execute_load_job)
    PATCHES.replace("bqemulator.api.routes.upload:execute_load_job", execute_load_job)
    PATCHES.replace("bqemulator.jobs.executor:_load_path_into_target", _load_path)
    PATCHES.replace("bqemulator.jobs.executor:_maybe_create_load_destination", _create_destination)
    PATCHES.replace(
        "bqemulator.api.routes.upload:_load_configuration_from_envelope", _configuration
    )
    PATCHES.replace("bqemulator.api.routes.upload:_run_load", _run_load)
    PATCHES.replace("bqemulator.api.routes.upload:_new_job_id", _new_job_id)
