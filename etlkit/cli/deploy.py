"""`etlkit deploy`: print what runs a job by itself. Nothing is run."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click

from etlkit.cli.cloud_run import CloudRunJob
from etlkit.cli.cron_schedule import check_schedule
from etlkit.cli.options import CONTEXT, Command, option
from etlkit.errors import ConfigError

_WHAT = "What is deployed"
_WHEN = "When it runs"
_LIMITS = "Limits"
_VALUES = "Values"
_OUTPUT = "Output"

_NAME = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_PROJECT = re.compile(r"([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")
_REGION = re.compile(r"[a-z]+-[a-z]+\d+")
_ACCOUNT = re.compile(r"[\w.-]+@[\w.-]+", re.ASCII)
_DURATION = re.compile(r"\d+[smh]?")
_MEMORY = re.compile(r"\d+(Mi|Gi)")
_VARIABLE = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_SECRET = re.compile(r"[\w-]+(:(\d+|latest))?", re.ASCII)
_LOOKS_SECRET = re.compile(r"(key|token|secret|passw)", re.IGNORECASE)
_MAX_KEY_BYTES = 16_384


@click.group(context_settings=CONTEXT)
def command() -> None:
    """Print what runs a job on Google Cloud by itself."""


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
@option(
    "--schedule",
    metavar="CRON",
    section=_WHEN,
    help="Five fields, e.g. '30 5 * * *' (default: nothing starts it).",
)
@option(
    "--time-zone",
    metavar="NAME",
    default="Etc/UTC",
    show_default=True,
    section=_WHEN,
    help="Of the schedule, e.g. Asia/Tokyo.",
)
@option(
    "--max-retries",
    type=click.IntRange(0, 10),
    default=3,
    show_default=True,
    section=_LIMITS,
    help="Starts after a failed one, each with --resume=auto.",
)
@option(
    "--task-timeout",
    metavar="DURATION",
    default="1h",
    show_default=True,
    section=_LIMITS,
    help="Of one attempt, e.g. 90m or 24h.",
)
@option("--memory", default="1Gi", show_default=True, section=_LIMITS, help="E.g. 512Mi or 4Gi.")
@option(
    "--cpu", type=click.Choice(["1", "2", "4", "8"]), default="1", section=_LIMITS, help="CPUs."
)
@option(
    "--env",
    "environ",
    multiple=True,
    metavar="NAME=VALUE",
    section=_VALUES,
    help="Environment variable, visible to all who may see the job; may be repeated.",
)
@option(
    "--secret",
    "secrets",
    multiple=True,
    metavar="NAME=SECRET[:VERSION]",
    section=_VALUES,
    help="Environment variable from Secret Manager; may be repeated.",
)
@option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    section=_OUTPUT,
    help="Write the files into this folder of the project instead of printing them.",
)
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
    folder, root = _places(output or Path("deploy"))
    files = job.files(folder, root)
    if output is None:
        for name, text in files.items():
            click.echo(f"##### {folder}/{name}\n{text}")
        return 0
    output.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (output / name).write_text(text, encoding="utf-8")
    click.echo(f"wrote {', '.join(files)} to {output}. Look at them, then: bash {output}/deploy.sh")
    return 0


def _described(target: str, arguments: tuple[str, ...], options: dict[str, Any]) -> CloudRunJob:
    """The job that the options describe.

    Raises:
        ConfigError: There is no such job, or a value cannot be used.
    """
    from etlkit.api.datamart import Datamart
    from etlkit.cli.job_loader import load_job

    own_name, job = load_job(target)
    if Path(target.partition(":")[0]).is_absolute() or ".." in Path(target).parts:
        raise ConfigError(f"{target} is not in the image: name the job from the project's folder")
    name = options["name"] or _slug(own_name)
    _match("--name", name, _NAME, "lower-case letters, digits and hyphens, at most 63")
    _match("--project", options["project"], _PROJECT, "the id of a project, e.g. my-project-123")
    _match("--region", options["region"], _REGION, "a region, e.g. us-central1")
    _match("--task-timeout", options["task_timeout"], _DURATION, "a duration, e.g. 90m or 24h")
    _match("--memory", options["memory"], _MEMORY, "an amount, e.g. 512Mi or 4Gi")
    if options["service_account"] is not None:
        _match("--service-account", options["service_account"], _ACCOUNT, "an e-mail address")
    if options["schedule"] is not None:
        options["schedule"] = check_schedule(options["schedule"])
    _check_zone(options["time_zone"])
    resume = () if isinstance(job, Datamart) else ("--resume=auto",)
    started = ("python", "-m", "etlkit.run", target, "--project", options["project"])
    options |= {"environ": _environ(options["environ"]), "secrets": _secrets(options["secrets"])}
    options |= {**_packages(options["extras"]), "name": name}
    _refuse_keys(Path())
    return CloudRunJob(
        **options,
        command=(*started, *resume, *arguments),
        has_gitignore=Path(".gitignore").is_file(),
        made_by=f"etlkit deploy cloud-run {target}",
    )


def _slug(name: str) -> str:
    """A job's name as that of a Cloud Run job: `jobs.daily_load` is `daily-load`."""
    last = name.partition(":")[2] or name.rpartition("/")[2].removesuffix(".sql").split(".")[-1]
    return re.sub(r"[^a-z0-9]+", "-", last.lower()).strip("-")[:63]


def _match(name: str, value: str, pattern: re.Pattern[str], what: str) -> None:
    if pattern.fullmatch(value) is None:
        raise ConfigError(f"{name} {value!r}: give {what}")


def _check_zone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigError(f"--time-zone {name!r}: give a name such as Asia/Tokyo") from error


def _packages(extras: tuple[str, ...]) -> dict[str, Any]:
    """Where the packages of the image come from."""
    for extra in extras:
        _match("--extra", extra, re.compile(r"[\w.-]+", re.ASCII), "the name of an extra, e.g. dbt")
    if Path("requirements.txt").is_file():
        if extras:
            raise ConfigError(
                "--extra goes with pyproject.toml; here requirements.txt is installed"
            )
        return {"requirements": True}
    if Path("pyproject.toml").is_file():
        return {"requirements": False, "extras": extras}
    raise ConfigError(
        "there is no requirements.txt and no pyproject.toml here, so it is not known what the image "
        "needs: write a requirements.txt with etlkit and what your job imports, and run this command "
        "in the folder of your project"
    )


def _pairs(name: str, given: Iterable[str]) -> Iterator[tuple[str, str]]:
    for text in given:
        variable, equals, value = text.partition("=")
        if not equals or not value:
            raise ConfigError(f"{name} {variable!r}: write NAME=VALUE")
        _match(name, variable, _VARIABLE, "a name of letters, digits and underscores")
        yield variable, value


def _environ(given: tuple[str, ...]) -> dict[str, str]:
    for variable, value in _pairs("--env", given):
        if _LOOKS_SECRET.search(variable):
            raise ConfigError(
                f"--env {variable}: everyone who may see the job sees its value. Put it into Secret "
                f"Manager and give --secret {variable}=NAME_OF_THE_SECRET"
            )
        if "\n" in value or "\r" in value:
            raise ConfigError(f"--env {variable}: its value has more than one line")
    return dict(_pairs("--env", given))


def _secrets(given: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for variable, secret in _pairs("--secret", given):
        if _SECRET.fullmatch(secret) is None:
            # What was given may be the secret itself, so it is not repeated.
            raise ConfigError(
                f"--secret {variable}: give the name of a secret in Secret Manager, perhaps with a "
                "version, as in NAME:3; never the secret itself"
            )
        found[variable] = secret if ":" in secret else f"{secret}:latest"
    return found


def _places(output: Path) -> tuple[str, str]:
    """The folder of the files from the project's folder, and the way back."""
    here, there = Path.cwd().resolve(), output.resolve()
    if not there.is_relative_to(here) or there == here:
        raise ConfigError(
            f"--output {output}: give a folder inside of {here.name}/, e.g. deploy: the image is made "
            "of what is in the project"
        )
    return there.relative_to(here).as_posix(), Path(os.path.relpath(here, there)).as_posix()


def _refuse_keys(root: Path) -> None:
    """Refuse to put the key of a service account into an image."""
    for folder, folders, files in os.walk(root):
        folders[:] = [
            name for name in folders if not name.startswith(".") and name != "node_modules"
        ]
        for name in files:
            path = Path(folder, name)
            if path.suffix == ".json" and _is_key(path):
                raise ConfigError(
                    f"{path} is the key of a service account and would be in the image. Move it out "
                    "of the project: on Cloud Run no key is needed"
                )


def _is_key(path: Path) -> bool:
    try:
        if path.stat().st_size > _MAX_KEY_BYTES:
            return False
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and "private_key" in content
