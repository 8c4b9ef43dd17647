"""The values that `etlkit deploy` is given: what can be used, and what is refused."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from etlkit.errors import ConfigError

NAME = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
PROJECT = re.compile(r"([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")
REGION = re.compile(r"[a-z]+-[a-z]+\d+")
ACCOUNT = re.compile(r"[\w.-]+@[\w.-]+", re.ASCII)
DURATION = re.compile(r"\d+[smh]?")
MEMORY = re.compile(r"\d+(Mi|Gi)")
_VARIABLE = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_SECRET = re.compile(r"[\w-]+(:(\d+|latest))?", re.ASCII)
_POD_SECRET = re.compile(r"([a-z0-9][a-z0-9.-]*):([\w.-]+)", re.ASCII)
_LOOKS_SECRET = re.compile(r"(key|token|secret|passw)", re.IGNORECASE)
_MAX_KEY_BYTES = 16_384


def slug(name: str) -> str:
    """A job's name as that of a Cloud Run job: `jobs.daily_load` is `daily-load`."""
    last = name.partition(":")[2] or name.rpartition("/")[2].removesuffix(".sql").split(".")[-1]
    return re.sub(r"[^a-z0-9]+", "-", last.lower()).strip("-")[:63]


def check(name: str, value: str, pattern: re.Pattern[str], what: str) -> None:
    """Raise if a value does not have its form.

    Raises:
        ConfigError: It has not.
    """
    if pattern.fullmatch(value) is None:
        raise ConfigError(f"{name} {value!r}: give {what}")


def check_zone(name: str) -> None:
    """Raise if there is no such time zone.

    Raises:
        ConfigError: There is none.
    """
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigError(f"--time-zone {name!r}: give a name such as Asia/Tokyo") from error


def packages(extras: tuple[str, ...]) -> dict[str, Any]:
    """Where the packages of the image come from."""
    for extra in extras:
        check("--extra", extra, re.compile(r"[\w.-]+", re.ASCII), "the name of an extra, e.g. dbt")
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
        check(name, variable, _VARIABLE, "a name of letters, digits and underscores")
        yield variable, value


def environ(given: tuple[str, ...]) -> dict[str, str]:
    """Read `NAME=VALUE`.

    Raises:
        ConfigError: It is not that, or a value may be a secret.
    """
    for variable, value in _pairs("--env", given):
        if _LOOKS_SECRET.search(variable):
            raise ConfigError(
                f"--env {variable}: everyone who may see the job sees its value. Put it into Secret "
                f"Manager and give --secret {variable}=NAME_OF_THE_SECRET"
            )
        if "\n" in value or "\r" in value:
            raise ConfigError(f"--env {variable}: its value has more than one line")
    return dict(_pairs("--env", given))


def secrets(given: tuple[str, ...]) -> dict[str, str]:
    """Read `NAME=SECRET[:VERSION]`; a version that is not given is the latest.

    Raises:
        ConfigError: It is not that.
    """
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


def secrets_of_pods(given: tuple[str, ...]) -> dict[str, tuple[str, str]]:
    """Environment variables from Kubernetes Secrets: variable to name and key of the Secret."""
    found = {}
    for variable, text in _pairs("--secret", given):
        match = _POD_SECRET.fullmatch(text)
        if match is None:
            # What was given may be the secret itself, so it is not repeated.
            raise ConfigError(
                f"--secret {variable}: give name and key of a Kubernetes Secret, as in NAME:KEY; never "
                "the secret itself"
            )
        found[variable] = match[1], match[2]
    return found


def places(output: Path) -> tuple[str, str]:
    """The folder of the files from the project's folder, and the way back."""
    here, there = Path.cwd().resolve(), output.resolve()
    if not there.is_relative_to(here) or there == here:
        raise ConfigError(
            f"--output {output}: give a folder inside of {here.name}/, e.g. deploy: the image is made "
            "of what is in the project"
        )
    return there.relative_to(here).as_posix(), Path(os.path.relpath(here, there)).as_posix()


def refuse_keys(root: Path) -> None:
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
