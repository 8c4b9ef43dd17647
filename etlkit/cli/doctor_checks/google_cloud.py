"""Can runs work on Google Cloud: account, clock, project, APIs, permissions, location, quotas."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from etlkit.cli.doctor_checks.finding import Finding, ok, problem, warning
from etlkit.cli.doctor_checks.google_apis import ApiAnswer, GoogleApis, Hosts
from etlkit.cli.doctor_checks.quotas import check_quotas

if TYPE_CHECKING:
    from etlkit.api.run import Settings

LOGIN: Final = "gcloud auth application-default login"
_SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"

_MAX_SKEW_S: Final = 60.0
"""Tokens are for an hour; a clock that is wrong by more than minutes makes Google refuse them.
Source: https://developers.google.com/identity/protocols/oauth2/service-account#error-codes"""

_APIS: Final = {
    "bigquery.googleapis.com": True,
    "bigquerystorage.googleapis.com": True,
    "vision.googleapis.com": False,
}
"""APIs, and whether every run needs them."""

_BILLED: Final = {
    "bigquery.jobs.create": "roles/bigquery.jobUser",
    "bigquery.readsessions.create": "roles/bigquery.readSessionUser",
    "bigquery.readsessions.getData": "roles/bigquery.readSessionUser",
}
"""What a run needs on the project that is billed, and the least role that has it.
Source: https://cloud.google.com/bigquery/docs/access-control"""

_EDITOR: Final = "roles/bigquery.dataEditor"
_WRITING: Final = (
    "bigquery.tables.create",
    "bigquery.tables.get",
    "bigquery.tables.getData",
    "bigquery.tables.updateData",
    "bigquery.tables.update",
)
OF_MODE: Final[Mapping[str, Sequence[str]]] = {
    "append": _WRITING,
    "append_direct": _WRITING,
    "replace": _WRITING,
    "merge": _WRITING,
    "delete_in_advance": (*_WRITING, "bigquery.tables.delete"),
}
"""What each mode needs on the target's dataset; the work dataset takes all of them."""


@dataclass(frozen=True)
class Account:
    """Who calls.

    Attributes:
        name: Its address; empty = not known.
        headers: Authorization for requests.
        project: The project of the credentials; None = they have none.
    """

    name: str
    headers: Mapping[str, str]
    project: str | None

    @property
    def member(self) -> str:
        """As IAM writes it."""
        if not self.name:
            return "user:YOUR_ADDRESS"
        kind = "serviceAccount" if self.name.endswith("gserviceaccount.com") else "user"
        return f"{kind}:{self.name}"


def find_account() -> Account | Finding:
    """Google's default credentials, as a run would use them; a finding = there are none that work."""
    import google.auth
    import google.auth.transport.requests
    from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError

    from etlkit.bigquery.google_errors import KEY_FILE, key_file_fault

    try:
        credentials: Any
        credentials, project = google.auth.default(scopes=[_SCOPE])
        credentials.refresh(google.auth.transport.requests.Request())
    except (DefaultCredentialsError, OSError) as error:
        fault = key_file_fault(error, os.environ)
        if fault is not None:
            return problem("credentials", fault, f"unset {KEY_FILE}", LOGIN)
        return problem("credentials", "this machine has no Google credentials", LOGIN)
    except GoogleAuthError as error:
        return problem("credentials", f"Google refused them, or cannot be reached: {error}", LOGIN)
    name = getattr(credentials, "service_account_email", None) or getattr(
        credentials, "account", ""
    )
    return Account(str(name or ""), {"Authorization": f"Bearer {credentials.token}"}, project)


def check_google_cloud(
    account: Account, settings: Settings, datasets: Sequence[str], mode: str, hosts: Hosts
) -> Iterator[Finding]:
    """Look at all that a run needs. Nothing is written, and nothing costs money.

    Args:
        account: Who calls.
        settings: Project and location.
        datasets: The work dataset and the target's, `dataset` or `project.dataset`.
        mode: Of the sink.
        hosts: Where the APIs are.
    """
    yield ok("credentials", account.name or "they work")
    project = settings.project or account.project
    if project is None:
        yield problem(
            "project",
            "the credentials name no project",
            "gcloud auth application-default set-quota-project PROJECT",
            "or add --project PROJECT",
        )
        return
    apis = GoogleApis(account.headers, hosts)
    answer = apis.datasets(project)
    yield _clock(answer)
    reached = _project(project, answer)
    yield reached
    if reached.state == "problem":
        return
    enabled = _states(apis.services(project, list(_APIS)))
    yield from _enabled(enabled, project)
    granted = apis.granted(project, sorted({*_BILLED, *OF_MODE[mode], "bigquery.datasets.create"}))
    yield from _permissions(account, project, granted, datasets, mode)
    yield from _places(apis, project, datasets, settings.location)
    if not isinstance(enabled, str):
        yield from check_quotas(apis, project, enabled)


def _clock(answer: ApiAnswer) -> Finding:
    if answer.skew_s is None:
        return warning("clock", "Google's clock could not be read")
    if abs(answer.skew_s) > _MAX_SKEW_S:
        side = "ahead of" if answer.skew_s > 0 else "behind"
        return problem(
            "clock",
            f"this machine is {abs(answer.skew_s):,.0f} s {side} Google",
            "sudo timedatectl set-ntp true",
        )
    return ok("clock", "right to a minute")


def _project(project: str, answer: ApiAnswer) -> Finding:
    if answer.status == 200:
        return ok("project", project)
    if answer.is_disabled:
        text = f"the BigQuery API is not enabled in {project}"
        return problem("project", text, _enable("bigquery.googleapis.com", project))
    if answer.status in {400, 404}:
        return problem("project", f"there is no project {project}", "gcloud projects list")
    if answer.status == 401:
        return problem("credentials", f"Google refused them: {answer.message}", LOGIN)
    reason = answer.message or f"status {answer.status}"
    return problem("project", f"{project} cannot be used: {reason}")


def _enable(api: str, project: str) -> str:
    return f"gcloud services enable {api} --project {project}"


def _states(answer: ApiAnswer) -> list[str] | str:
    """The APIs that are enabled; a text = why that cannot be seen."""
    if answer.status != 200:
        return answer.message or f"status {answer.status}"
    return [
        str(each.get("name", "")).rpartition("/")[2]
        for each in answer.body.get("services", [])
        if each.get("state") == "ENABLED"
    ]


def _enabled(enabled: Sequence[str] | str, project: str) -> Iterator[Finding]:
    if isinstance(enabled, str):
        yield warning("APIs", f"it cannot be seen which ones are enabled: {enabled}")
        return
    for api, is_needed in _APIS.items():
        if api in enabled:
            yield ok("APIs", api)
        elif is_needed:
            yield problem("APIs", f"{api} is not enabled", _enable(api, project))
        else:
            text = f"{api} is not enabled; only jobs that call it need it"
            yield warning("APIs", text, _enable(api, project))


def _permissions(
    account: Account, project: str, answer: ApiAnswer, datasets: Sequence[str], mode: str
) -> Iterator[Finding]:
    if answer.status != 200:
        hint = _enable("cloudresourcemanager.googleapis.com", project)
        yield warning(
            "permissions",
            f"they cannot be seen: {answer.message}",
            *([hint] if answer.is_disabled else []),
        )
        return
    granted = set(answer.body.get("permissions", []))
    roles = dict.fromkeys(role for name, role in _BILLED.items() if name not in granted)
    if roles:
        lacking = ", ".join(name for name in _BILLED if name not in granted)
        yield problem(
            "permissions",
            f"{account.name or 'the account'} lacks {lacking} on {project}",
            *(
                f"gcloud projects add-iam-policy-binding {project} --member={account.member} "
                f"--role={role}"
                for role in roles
            ),
        )
    else:
        yield ok("permissions", f"run queries and read tables, billed to {project}")
    lacking = ", ".join(name for name in OF_MODE[mode] if name not in granted)
    if lacking:
        yield warning(
            "permissions",
            f"{lacking}: not granted on the whole project. That is fine if the datasets grant them",
            *(
                f"bq query --nouse_legacy_sql 'GRANT `{_EDITOR}` ON SCHEMA `{_full(name, project)}` "
                f'TO "{account.member}"\''
                for name in datasets
            ),
        )
    else:
        yield ok("permissions", f"write tables, mode {mode}")


def _full(dataset: str, project: str) -> str:
    return dataset if "." in dataset else f"{project}.{dataset}"


def _places(
    apis: GoogleApis, project: str, datasets: Sequence[str], location: str | None
) -> Iterator[Finding]:
    """Where the datasets are: a run is in one location."""
    places: dict[str, str] = {}
    for name in datasets:
        owner, _, dataset = _full(name, project).rpartition(".")
        answer = apis.dataset(owner, dataset)
        if answer.status == 200:
            places[name] = str(answer.body.get("location", ""))
        elif answer.status == 404:
            yield warning("datasets", f"there is no {name} yet; a run that may make it does so")
        else:
            reason = answer.message or f"status {answer.status}"
            yield warning("datasets", f"{name} cannot be seen: {reason}")
    there = {place.lower() for place in places.values()}
    wanted = {*there, location.lower()} if location else there
    shown = ", ".join(f"{name} in {place}" for name, place in places.items())
    if len(wanted) > 1:
        asked = f", and --location says {location}" if location else ""
        yield problem("location", f"a run is in one location, but there is {shown}{asked}")
    elif places:
        yield ok("location", shown)
