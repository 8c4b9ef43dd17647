"""The profile with which dbt connects: written for one run, into a folder of its own."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from etlkit.api.run import Settings
from etlkit.bigquery.client import EMULATOR_VARIABLE
from etlkit.calls.local_token import local_token, without_token
from etlkit.errors import ConfigError

PROFILE = "etlkit"


def write_profile(
    folder: Path, settings: Settings, dataset: str, target: str, options: dict[str, Any]
) -> None:
    """Write `profiles.yml`, readable for this user only.

    On Google Cloud it names no key: dbt finds the application default credentials, as etlkit does. In
    the local world it has the address of the local BigQuery, and its token.

    Args:
        folder: Where to.
        settings: Project, location and environment of the run.
        dataset: Of the models, `dataset` or `project.dataset`.
        target: The name of the profile's only output.
        options: More of dbt's options for BigQuery.

    Raises:
        ConfigError: There are no credentials, or no project.
    """
    project, _, name = dataset.rpartition(".")
    output = {"type": "bigquery", "dataset": name, **options}
    emulator = settings.environ.get(EMULATOR_VARIABLE)
    if emulator:
        default = settings.project or settings.environ.get("GOOGLE_CLOUD_PROJECT")
        token = local_token(emulator, settings.environ)
        address = without_token(emulator, token)
        # An emulator of somebody else wants no token, but dbt does not connect without one.
        output |= {"method": "oauth-secrets", "token": token or "local", "api_endpoint": address}
    else:
        default = settings.project or _project_of_credentials()
        output["method"] = "oauth"
    if not (project or default):
        raise ConfigError(
            "dbt needs a Google Cloud project: give one with --project, or DbtBuild(dataset="
            f"'project.{name}')"
        )
    output["project"] = project or default
    output["execution_project"] = default or project
    if settings.location is not None:
        output["location"] = settings.location
    profiles = {PROFILE: {"target": target, "outputs": {target: output}}}
    descriptor = os.open(folder / "profiles.yml", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(profiles, file)  # JSON is YAML too


def _project_of_credentials() -> str | None:
    """Look for credentials before dbt does: without any it would ask in a browser."""
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError

    try:
        project: str | None = google.auth.default()[1]
    except DefaultCredentialsError as error:
        raise ConfigError(
            "no Google Cloud credentials for dbt. Either run against the embedded BigQuery with "
            "--local, or sign in: gcloud auth application-default login"
        ) from error
    return project
