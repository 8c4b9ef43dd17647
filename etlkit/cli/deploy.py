"""`etlkit deploy`: print what runs a job by itself. Nothing is run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from etlkit.api.quantities import number_of
from etlkit.cli.cloud_run import CloudRunJob
from etlkit.cli.cron_schedule import check_schedule
from etlkit.cli.deploy_values import (
    ACCOUNT,
    DURATION,
    MEMORY,
    NAME,
    PROJECT,
    REGION,
    check,
    check_zone,
    environ,
    packages,
    places,
    refuse_keys,
    secrets,
    secrets_of_pods,
    slug,
)
from etlkit.cli.kubernetes_job import KubernetesJob
from etlkit.cli.options import CONTEXT, Command, option
from etlkit.cli.slurm_array import SlurmArray
from etlkit.errors import ConfigError

_WHAT = "What is deployed"
_WHEN = "When it runs"
_LIMITS = "Limits"
_VALUES = "Values"
_OUTPUT = "Output"

_IMAGE = re.compile(r"[\w.:/@-]+", re.ASCII)
_CPU = re.compile(r"\d+m?|\d+\.\d+")
_SLURM_TIME = re.compile(r"(\d+-)?\d+(:\d\d){0,2}")
_SLURM_MEMORY = re.compile(r"\d+[KMGT]?")
_SLURM_CPU = re.compile(r"[1-9]\d{0,3}")
_PARTITION = re.compile(r"[\w.,-]+", re.ASCII)

_MAX_POD_CHARS = 40
"""A pod's name has the Job's, an index and five more characters, and is at most 63 long:
https://kubernetes.io/docs/concepts/workloads/controllers/job/#completion-mode"""

_schedule = option(
    "--schedule",
    metavar="CRON",
    section=_WHEN,
    help="Five fields, e.g. '30 5 * * *' (default: nothing starts it).",
)
_time_zone = option(
    "--time-zone",
    metavar="NAME",
    default="Etc/UTC",
    show_default=True,
    section=_WHEN,
    help="Of the schedule, e.g. Asia/Tokyo.",
)
_max_retries = option(
    "--max-retries",
    type=click.IntRange(0, 10),
    default=3,
    show_default=True,
    section=_LIMITS,
    help="Starts after a failed one, each with --resume=auto.",
)
_memory = option(
    "--memory", default="1Gi", show_default=True, section=_LIMITS, help="E.g. 512Mi or 4Gi."
)
_cpu = option(
    "--cpu", type=click.Choice(["1", "2", "4", "8"]), default="1", section=_LIMITS, help="CPUs."
)
_env = option(
    "--env",
    "environ",
    multiple=True,
    metavar="NAME=VALUE",
    section=_VALUES,
    help="Environment variable, visible to all who may see the job; may be repeated.",
)
_output = option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    section=_OUTPUT,
    help="Write the files into this folder of the project instead of printing them.",
)
_tasks = option(
    "--tasks",
    type=click.IntRange(min=1),
    metavar="N",
    default=1,
    show_default=True,
    section=_WHEN,
    help="How many tasks share each run.",
)


@click.group(context_settings=CONTEXT)
def command() -> None:
    """Print what runs a job by itself: on Cloud Run, Kubernetes or Slurm."""


@command.command("cloud-run", cls=Command, context_settings=CONTEXT)
@click.argument("target")
@click.argument("arguments", nargs=-1, metavar="[-- OPTIONS OF etlkit run]")
@option("--project", required=True, metavar="ID", section=_WHAT, help="Google Cloud project.")
@option(
    "--region",
    required=True,
    metavar="NAME",
    section=_WHAT,
    help="Of job, image and schedule, e.g. us-central1 or asia-northeast1.",
)
@option("--name", metavar="NAME", section=_WHAT, help="Of the Cloud Run job (default: TARGET's).")
@option(
    "--service-account",
    metavar="EMAIL",
    section=_WHAT,
    help="What the job runs as (default: an account of its own is made).",
)
@option(
    "--extra",
    "extras",
    multiple=True,
    metavar="NAME",
    section=_WHAT,
    help="Extra of pyproject.toml to install, e.g. dbt; may be repeated.",
)
@_schedule
@_time_zone
@_tasks
@_max_retries
@option(
    "--task-timeout",
    metavar="DURATION",
    default="1h",
    show_default=True,
    section=_LIMITS,
    help="Of one attempt, e.g. 90m or 24h.",
)
@_memory
@_cpu
@_env
@option(
    "--secret",
    "secrets",
    multiple=True,
    metavar="NAME=SECRET[:VERSION]",
    section=_VALUES,
    help="Environment variable from Secret Manager; may be repeated.",
)
@_output
def cloud_run(target: str, arguments: tuple[str, ...], output: Path | None, **options: Any) -> int:
    """Print what runs TARGET as a Cloud Run job, on a schedule. Nothing is run.

    It is an image (Dockerfile), and a script of gcloud commands that builds it, deploys the job and
    makes the schedule. Run the command in the folder of the project.

    \b
    etlkit deploy cloud-run jobs.workflow --project my-project --region us-central1 \\
      --schedule '30 5 * * *' --time-zone Asia/Tokyo --output deploy
    bash deploy/deploy.sh
    """  # noqa: D301 - \b keeps click from wrapping these lines
    job = _described(target, arguments, options)
    folder, root = places(output or Path("deploy"))
    _write(job.files(folder, root), folder, output, f"bash {output}/deploy.sh")
    return 0


def _write(files: Mapping[str, str], folder: str, output: Path | None, then: str) -> None:
    """Print the files, or write them into a folder and say what comes then."""
    if output is None:
        for name, text in files.items():
            click.echo(f"##### {folder}/{name}\n{text}")
        return
    try:
        output.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (output / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--output {output} cannot be written: {error.strerror}") from error
    them = "it" if len(files) == 1 else "them"
    click.echo(f"wrote {', '.join(files)} to {output}. Look at {them}, then: {then}")


def _command(
    target: str, arguments: tuple[str, ...], options: Mapping[str, Any]
) -> tuple[str, tuple[str, ...]]:
    """The job's own name, and the command line that runs it.

    Raises:
        ConfigError: There is no such job, or tasks cannot share its runs.
    """
    from etlkit.api.datamart import Datamart
    from etlkit.cli.job_loader import load_job

    own_name, job = load_job(target)
    if Path(target.partition(":")[0]).is_absolute() or ".." in Path(target).parts:
        raise ConfigError(
            f"{target} is not there where the job will run: name it from the project's folder"
        )
    if options["tasks"] > 1:
        _check_shared(job, options["tasks"])
    project = () if options["project"] is None else ("--project", options["project"])
    resume = () if isinstance(job, Datamart) else ("--resume=auto",)
    return own_name, ("python", "-m", "etlkit.run", target, *project, *resume, *arguments)


def _check_shared(job: object, tasks: int) -> None:
    from etlkit.api.job import TransferJob
    from etlkit.api.sink import TakesWorkers
    from etlkit.engine.importable import check_importable
    from etlkit.engine.worker_count import check_number

    if not isinstance(job, TransferJob) or not isinstance(job.sink, TakesWorkers):
        raise ConfigError(
            f"--tasks {tasks}: tasks share the runs of a TransferJob with a BigQuerySink, and this is "
            "another kind of job. Leave --tasks out"
        )
    job.sink.check_workers(job.source)
    workers = job.workers or 1
    check_number(f"--tasks {tasks} of {number_of(workers, 'worker')}", tasks * workers)
    check_importable(job, with_script=True)


def _check_common(name: str, options: Mapping[str, Any]) -> None:
    check("--name", name, NAME, "lower-case letters, digits and hyphens, at most 63")
    if options["project"] is not None:
        check("--project", options["project"], PROJECT, "the id of a project, e.g. my-project-123")


def _schedule_of(options: dict[str, Any]) -> None:
    if options["schedule"] is not None:
        options["schedule"] = check_schedule(options["schedule"])
    check_zone(options["time_zone"])


def _described(target: str, arguments: tuple[str, ...], options: dict[str, Any]) -> CloudRunJob:
    """The job that the options describe.

    Raises:
        ConfigError: There is no such job, or a value cannot be used.
    """
    own_name, command = _command(target, arguments, options)
    name = options["name"] or slug(own_name)
    _check_common(name, options)
    check("--region", options["region"], REGION, "a region, e.g. us-central1")
    check("--task-timeout", options["task_timeout"], DURATION, "a duration, e.g. 90m or 24h")
    check("--memory", options["memory"], MEMORY, "an amount, e.g. 512Mi or 4Gi")
    if options["service_account"] is not None:
        check("--service-account", options["service_account"], ACCOUNT, "an e-mail address")
    _schedule_of(options)
    options |= {"environ": environ(options["environ"]), "secrets": secrets(options["secrets"])}
    options |= {**packages(options["extras"]), "name": name}
    refuse_keys(Path())
    return CloudRunJob(
        **options,
        command=command,
        has_gitignore=Path(".gitignore").is_file(),
        made_by=f"etlkit deploy cloud-run {target}",
    )


@command.command("kubernetes", cls=Command, context_settings=CONTEXT)
@click.argument("target")
@click.argument("arguments", nargs=-1, metavar="[-- OPTIONS OF etlkit run]")
@option("--image", required=True, metavar="IMAGE", section=_WHAT, help="With the project in it.")
@option("--project", required=True, metavar="ID", section=_WHAT, help="Google Cloud project.")
@option("--name", metavar="NAME", section=_WHAT, help="Of the Job (default: TARGET's).")
@option(
    "--namespace",
    metavar="NAME",
    default="default",
    show_default=True,
    section=_WHAT,
    help="Of Job and service account.",
)
@option(
    "--service-account",
    "account",
    metavar="NAME",
    default="etlkit",
    show_default=True,
    section=_WHAT,
    help="Kubernetes service account that the pods run as; it is made.",
)
@_tasks
@_schedule
@_time_zone
@_max_retries
@_memory
@option("--cpu", default="1", show_default=True, section=_LIMITS, help="E.g. 500m or 2.")
@_env
@option(
    "--secret",
    "secrets_of_pods",
    multiple=True,
    metavar="NAME=SECRET:KEY",
    section=_VALUES,
    help="Environment variable from a Kubernetes Secret; may be repeated.",
)
@_output
def kubernetes(target: str, arguments: tuple[str, ...], output: Path | None, **options: Any) -> int:
    """Print what runs TARGET as an Indexed Job of Kubernetes whose pods share each run. Nothing is run.

    It is a service account, the Job, or with --schedule a CronJob, and a script with the commands that
    give the pods their roles and make the Job.

    \b
    etlkit deploy kubernetes jobs.squares --project my-project --tasks 8 \\
      --image us-docker.pkg.dev/my-project/etl/etl:1 --output deploy
    bash deploy/deploy.sh
    """  # noqa: D301 - \b keeps click from wrapping these lines
    own_name, command = _command(target, arguments, options)
    name = options["name"] or slug(own_name)[:_MAX_POD_CHARS].rstrip("-")
    _check_common(name, options)
    if len(name) > _MAX_POD_CHARS:
        raise ConfigError(
            f"--name {name!r}: at most {_MAX_POD_CHARS} characters, pods append to it"
        )
    for spelled in ("namespace", "account"):
        check(f"--{spelled}", options[spelled], NAME, "lower-case letters, digits and hyphens")
    check("--image", options["image"], _IMAGE, "an image, e.g. us-docker.pkg.dev/p/etl/etl:1")
    check("--memory", options["memory"], MEMORY, "an amount, e.g. 512Mi or 4Gi")
    check("--cpu", options["cpu"], _CPU, "a number of CPUs, e.g. 500m or 2")
    _schedule_of(options)
    options["environ"] = environ(options["environ"])
    options["secrets"] = secrets_of_pods(options.pop("secrets_of_pods"))
    options["name"] = name
    made_by = f"etlkit deploy kubernetes {target}"
    job = KubernetesJob(**options, command=command, made_by=made_by)
    folder, _ = places(output or Path("deploy"))
    _write(job.files(), folder, output, f"bash {output}/deploy.sh")
    return 0


@command.command("slurm", cls=Command, context_settings=CONTEXT)
@click.argument("target")
@click.argument("arguments", nargs=-1, metavar="[-- OPTIONS OF etlkit run]")
@option(
    "--project",
    metavar="ID",
    section=_WHAT,
    help="Google Cloud project (default: the credentials').",
)
@option("--name", metavar="NAME", section=_WHAT, help="Of the array (default: TARGET's).")
@option("--partition", metavar="NAME", section=_WHAT, help="Default: that of the cluster.")
@_tasks
@_max_retries
@option(
    "--time-limit",
    metavar="TIME",
    default="24:00:00",
    show_default=True,
    section=_LIMITS,
    help="Of each task, e.g. 90, 24:00:00 or 2-00:00:00.",
)
@option("--memory", default="1G", show_default=True, section=_LIMITS, help="E.g. 512M or 4G.")
@option("--cpu", default="1", show_default=True, section=_LIMITS, help="CPUs of each task.")
@_env
@_output
def slurm(target: str, arguments: tuple[str, ...], output: Path | None, **options: Any) -> int:
    """Print what runs TARGET as a job array of Slurm whose tasks share each run. Nothing is run.

    It is a batch script. Submit it in the folder of the project, on a file system that all nodes see.

    \b
    etlkit deploy slurm jobs.squares --tasks 8 --output deploy
    sbatch deploy/job.sbatch
    """  # noqa: D301 - \b keeps click from wrapping these lines
    own_name, command = _command(target, arguments, options)
    name = options["name"] or slug(own_name)
    _check_common(name, options)
    check(
        "--time-limit", options["time_limit"], _SLURM_TIME, "a time, e.g. 90, 24:00:00, 2-00:00:00"
    )
    check("--memory", options["memory"], _SLURM_MEMORY, "an amount, e.g. 512M or 4G")
    check("--cpu", options["cpu"], _SLURM_CPU, "a number of CPUs")
    if options["partition"] is not None:
        check("--partition", options["partition"], _PARTITION, "names of partitions")
    del options["project"]
    options |= {"environ": environ(options["environ"]), "name": name}
    job = SlurmArray(**options, command=command, made_by=f"etlkit deploy slurm {target}")
    folder, _ = places(output or Path("deploy"))
    _write(job.files(), folder, output, f"sbatch {output}/job.sbatch")
    return 0
