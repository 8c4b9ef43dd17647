"""The two versions of a job, and the requests to run them over the same rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etlkit.errors import ConfigError

if TYPE_CHECKING:
    from etlkit.api.job import TransferJob
    from etlkit.api.run import RunRequest, Settings


def job_of(target: str | None, script: Mapping[str, Any]) -> TransferJob:
    """The job that a command line names, or makes of a script.

    Raises:
        ConfigError: There is none, or it is no transfer.
    """
    from etlkit.api.job import TransferJob
    from etlkit.cli.job_loader import load_job
    from etlkit.cli.script_options import script_job

    if target is None:
        paths = {**script, "script": Path(script["script"])}
        return script_job(paths)[1]
    name, job = load_job(target)
    if not isinstance(job, TransferJob):
        raise ConfigError(f"{name} is a {type(job).__name__}, and not a TransferJob")
    return job


def job_of_file(file: str, target: str | None, job: TransferJob) -> TransferJob:
    """The job of a file, or the given one with the class `Etl` of a file.

    Args:
        file: The path, with `:name` if the user wrote one.
        target: What the command line names; its `:name` is looked for in the file, too.
        job: The job that it names.

    Raises:
        ConfigError: The file has neither.
    """
    from etlkit.api.job import TransferJob
    from etlkit.engine.trocco import load_etl, provide_etl_base
    from etlkit.engine.user_modules import import_file

    path, _, name = file.partition(".py:")
    path = f"{path}.py" if name else file
    provide_etl_base()
    found = vars(import_file(Path(path)))
    own = (target or "").partition(":")[2]
    for each in (name,) if name else (own, "job"):
        other = found.get(each)
        if isinstance(other, TransferJob):
            return replace(other, name=job.name)
    if name:
        raise ConfigError(f"{path} has no TransferJob {name!r}")
    return replace(job, transform=load_etl(path))


def expanded(
    job: TransferJob,
    name: str,
    settings: Settings,
    variables: Mapping[str, Any],
    now: datetime,
    queued_at: datetime,
) -> tuple[TransferJob, RunRequest]:
    """A version with its variables expanded, and the request for its run.

    Args:
        job: The version.
        name: The job's name: results of earlier runs are kept under it.
        settings: Project, location and environment.
        variables: Values of custom variables.
        now: When the comparison began: the same for both versions.
        queued_at: Time from which `Timestamp` variables count.

    Raises:
        ConfigError: A variable is wrong.
    """
    from etlkit.api.run import RunRequest
    from etlkit.engine.expansion import expand_transfer

    job, values = expand_transfer(job, given=variables, queued_at=queued_at, started_at=now)
    request = RunRequest(
        f"{name} (diff)", settings, variables=values, started_at=now, results_of=name
    )
    return job, request
