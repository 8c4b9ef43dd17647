"""Google's errors, in the words of etlkit's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from etlkit.calls.classify import is_refused_by_proxy, refused_by_proxy
from etlkit.errors import JobError, SinkError, SourceError


@contextmanager
def errors_as(
    kind: type[SourceError | SinkError],
    stage: str,
    doing: str,
    hints: Mapping[int, str] | None = None,
) -> Iterator[None]:
    """Turn Google's errors into a `SourceError` or `SinkError` that says what to do next.

    Args:
        kind: The error to raise.
        stage: The stage of the run.
        doing: What was being done, for the message.
        hints: HTTP status -> the next thing to do.

    Raises:
        ConfigError: A proxy lets nobody through without a password.
    """
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError

    try:
        yield
    except JobError:
        raise
    except (GoogleAPIError, GoogleAuthError, OSError) as error:  # requests' errors are OSErrors
        if is_refused_by_proxy(error):
            raise refused_by_proxy("BigQuery") from error
        status = getattr(error, "code", None)
        said = google_message(error)
        hint = _SIGN_IN if isinstance(error, GoogleAuthError) else _project_hint(said)
        if hint is None and status is not None:
            hint = (hints or {}).get(int(status))
        message = f"{doing}: {said}" + (f"\n{hint}" if hint else "")
        raise kind(message, job_id=_job_id(error), stage=stage) from error


KEY_FILE = "GOOGLE_APPLICATION_CREDENTIALS"
"""The variable that names a key file. While it is set, Google's clients look for no other credentials.
Source: https://cloud.google.com/docs/authentication/application-default-credentials#GAC"""


def key_file_fault(error: Exception, environ: Mapping[str, str]) -> str | None:
    """What is wrong with the key file that the environment names; None = it names none.

    Args:
        error: What Google's library raised when it looked for credentials.
        environ: Environment variables.
    """
    path = environ.get(KEY_FILE)
    if not path:
        return None
    said = getattr(error, "strerror", None) or str(error.args[0] if error.args else error)
    return f"{KEY_FILE}={path} gives no credentials: {said.strip().splitlines()[0].rstrip('.')}"


_SIGN_IN = (
    "Are the credentials still valid? Sign in again: gcloud auth application-default login (or set "
    "GOOGLE_APPLICATION_CREDENTIALS to a key file)"
)
_SANDBOX = (
    "The project is a sandbox: without billing, BigQuery runs no DML and deletes every table after 60 "
    "days, so etlkit cannot publish. Enable billing: https://cloud.google.com/bigquery/docs/sandbox"
)
_CMEK = (
    "The organisation asks for keys of its own (CMEK): create the work dataset and the target's "
    "dataset with a default key, then run again: "
    "https://cloud.google.com/bigquery/docs/customer-managed-encryption"
)
_PROJECT_HINTS = {
    "free tier": _SANDBOX,
    "billing has not been enabled": _SANDBOX,
    "sandbox": _SANDBOX,
    "restrictnoncmekservices": _CMEK,
    "customer-managed": _CMEK,
    "cmek": _CMEK,
}
"""What BigQuery says of a project's own rules, in lower case, and what to do."""


def _project_hint(message: str) -> str | None:
    lower = message.lower()
    return next((hint for words, hint in _PROJECT_HINTS.items() if words in lower), None)


def google_message(error: BaseException) -> str:
    """BigQuery's own message, without what the transport and the client add."""
    for inner in getattr(error, "errors", None) or ():
        if isinstance(inner, Mapping) and inner.get("message"):
            return str(inner["message"])
    if isinstance(error, OSError):
        return f"BigQuery did not answer: {_innermost(error)}"
    return str(getattr(error, "message", None) or error) or type(error).__name__


def _innermost(error: OSError) -> str:
    """Why there was no answer, without the address that requests and urllib3 put before it."""
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    text = str(error if reason is None else reason)
    return text.partition("): ")[2] or text or type(error).__name__


def _job_id(error: BaseException) -> str | None:
    job_id = getattr(getattr(error, "query_job", None), "job_id", None)
    return None if job_id is None else str(job_id)
