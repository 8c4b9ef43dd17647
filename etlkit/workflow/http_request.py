"""Tasks that call something over HTTP: `HttpRequest`, and `Webhook`, which tells somebody."""

from __future__ import annotations

import json as json_texts
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import unquote, urlencode, urlsplit

from etlkit.api.workflow_report import TaskKind
from etlkit.calls.auth import BasicAuth
from etlkit.calls.backoff import RetryPolicy
from etlkit.calls.http import HttpAnswer, HttpClient
from etlkit.calls.secret import Secret
from etlkit.errors import ConfigError, EtlkitError, JobError
from etlkit.workflow.task_kind import Runnable, TaskContext
from etlkit.workflow.texts import Filler, names_in

log: logging.Logger = logging.getLogger("etlkit.workflow")

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD")
_URL = re.compile(r"https?://[^/?#$@\s]+([/?#]\S*)?")
"""Neither a variable nor a password may stand in the host."""

_SLACK_CHARS = 40_000
"""Slack cuts longer texts: https://docs.slack.dev/changelog/2018-truncating-really-long-messages/"""


@dataclass(frozen=True)
class HttpRequest(Runnable):
    """A request to a service. Its value is `{"status": …, "body": …}`, the body if it is JSON.

    `$name$` in the address, parameters, headers and body are variables; in the address they are
    percent-encoded. The request is repeated after failures that may pass, so it may arrive more than
    once. Redirects are not followed.

    Attributes:
        url: `https://…`, or a `Secret` with the whole address.
        method: `GET`, `POST`, `PUT`, `PATCH`, `DELETE` or `HEAD`.
        params: Behind the `?` of the address, name to text or number.
        headers: Name to a text or a `Secret`.
        json: The body as a JSON value; None = none. A text in it that is `$name$` and no more
            becomes the variable's value with its type.
        text: The body as text, in UTF-8; None = none.
        expect_status: The statuses that are a success, one or several; None = every 2xx.
        retry: How often and how long to try; None = `RetryPolicy()`.
    """

    url: str | Secret
    method: str = "GET"
    params: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    headers: Mapping[str, str | Secret] = field(default_factory=dict, kw_only=True)
    json: Any = field(default=None, kw_only=True)
    text: str | None = field(default=None, kw_only=True)
    expect_status: int | Sequence[int] | None = field(default=None, kw_only=True)
    retry: RetryPolicy | None = field(default=None, kw_only=True)

    kind: ClassVar[TaskKind] = "http"

    def __post_init__(self) -> None:
        """Raise for wrong values that can be found without any I/O."""
        check_url("HttpRequest", self.url)
        if self.method not in _METHODS:
            raise ConfigError(
                f"HttpRequest(method={self.method!r}): it is one of {', '.join(_METHODS)}"
            )
        if self.json is not None and self.text is not None:
            raise ConfigError("HttpRequest: give the body as json=… or as text=…, not both")
        check_json("HttpRequest", self.json)
        for status in self.expected or ():
            if not isinstance(status, int) or not 100 <= status <= 599:
                raise ConfigError(f"HttpRequest(expect_status={status!r}): it is from 100 to 599")
        check_retry("HttpRequest", self.retry)

    @property
    def expected(self) -> tuple[int, ...] | None:
        """`expect_status` as a tuple."""
        given = self.expect_status
        return (given,) if isinstance(given, int) else None if given is None else tuple(given)

    def used_variables(self) -> frozenset[str]:
        """The variables in its texts."""
        return frozenset(names_in([self.url, self.params, self.headers, self.json, self.text]))

    def run(self, context: TaskContext, /) -> None:
        """Make the request."""
        filler = Filler(context.variables, context.settings.environ)
        body = None if self.text is None else filler.text(self.text).encode()
        headers = {name: filler.text(value) for name, value in self.headers.items()}
        if self.json is not None:
            body = _json_bytes(filler.json(self.json))
            headers.setdefault("Content-Type", "application/json")
        url = filler.url(self.url)
        if self.params:
            query = urlencode({filler.text(k): filler.json(v) for k, v in self.params.items()})
            url += ("&" if "?" in url else "?") + query
        shown = str(self.url) if isinstance(self.url, Secret) else url.partition("?")[0]
        context.report.details["request"] = f"{self.method} {shown}"
        try:
            answer = _send(self.method, url, headers, body, self.expected, self.retry)
        except EtlkitError as error:
            raise _without_secrets(error, filler, self.url, url) from None
        context.report.details["status"] = str(answer.status)
        value = {"status": answer.status, "body": _json_of(answer)}
        context.report.value = filler.without_secrets(value)


@dataclass(frozen=True)
class Webhook(Runnable):
    """Tell somebody: in Slack's form, `{"text": …}`, or as any JSON.

    As a task, or for the events of a workflow. `$name$` are variables; in events also `$workflow$`,
    `$run_id$`, `$event$`, `$state$`, `$seconds$`, `$error$`, `$failed_tasks$`, `$num_tasks$` and
    `$num_succeeded$`.

    Attributes:
        url: The address, better a `Secret`: who knows it can write there.
        text: What to say; None = which workflow it is and how it went.
        json: Another JSON body instead; None = Slack's form with the text.
        headers: Name to a text or a `Secret`.
        ignore_error: As a task: a failure to deliver is only a warning. In events it always is.
        retry: How often and how long to try; None = 3 attempts within 30 s.
    """

    url: str | Secret
    text: str | None = None
    json: Any = field(default=None, kw_only=True)
    headers: Mapping[str, str | Secret] = field(default_factory=dict, kw_only=True)
    ignore_error: bool = field(default=False, kw_only=True)
    retry: RetryPolicy | None = field(default=None, kw_only=True)

    kind: ClassVar[TaskKind] = "webhook"

    def __post_init__(self) -> None:
        """Raise for wrong values that can be found without any I/O."""
        check_url("Webhook", self.url)
        if self.text is not None and self.json is not None:
            raise ConfigError("Webhook: give text=… for Slack's form or json=…, not both")
        check_json("Webhook", self.json)
        check_retry("Webhook", self.retry)

    def used_variables(self) -> frozenset[str]:
        """The variables in its texts."""
        return frozenset(names_in([self.url, self.text, self.json, self.headers]))

    def run(self, context: TaskContext, /) -> None:
        """Send the message."""
        default = f"workflow {context.workflow}, run {context.run_id}: {context.path[-1]}"
        try:
            self.send(context.variables, context.settings.environ, default)
        except EtlkitError as error:
            if not self.ignore_error or isinstance(error, ConfigError):
                raise
            context.report.details["warning"] = str(error)
            log.warning("task %s: %s", "/".join(context.path), error)

    def send(
        self, variables: Mapping[str, Any], environ: Mapping[str, str], default_text: str
    ) -> None:
        """Send the message.

        Args:
            variables: Values by bare name.
            environ: Where secrets are.
            default_text: What to say if there is neither a text nor JSON.

        Raises:
            EtlkitError: It was not delivered.
        """
        filler = Filler(variables, environ)
        if self.json is not None:
            body = filler.json(self.json)
        else:
            text = default_text if self.text is None else filler.text(self.text)
            body = {"text": text[:_SLACK_CHARS]}
        headers = {name: filler.text(value) for name, value in self.headers.items()}
        headers.setdefault("Content-Type", "application/json")
        retry = self.retry or RetryPolicy(
            max_attempts=3, max_total_s=30.0, attempt_timeout_s=10.0, max_outage_s=30.0
        )
        url = filler.url(self.url)
        try:
            _send("POST", url, headers, _json_bytes(body), None, retry)
        except EtlkitError as error:  # the address itself is the key of many services
            raise _without_secrets(error, filler, Secret("URL"), url) from None


def check_url(what: str, url: Any) -> None:
    """Raise if it is no address. A variable may stand in it behind the host.

    Raises:
        ConfigError: With an example.
    """
    if isinstance(url, Secret):
        return
    if not isinstance(url, str) or not _URL.fullmatch(url):
        shown = repr(url) if isinstance(url, str) and "@" not in url else "another value"
        raise ConfigError(
            f"{what}(url=…) got {shown}: write https://host/path, or Secret('NAME') with the name "
            "of an environment variable that holds it; variables may stand behind the host"
        )


def check_json(what: str, value: Any) -> None:
    """Raise if a value cannot be written as JSON; secrets in it can.

    Raises:
        ConfigError: With the reason.
    """
    try:
        json_texts.dumps(value, allow_nan=False, default=_secret_as_text)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{what}(json=…) cannot be written as JSON: {error}") from error


def check_retry(what: str, retry: Any) -> None:
    """Raise if it is no policy.

    Raises:
        ConfigError: With what is allowed.
    """
    if retry is not None and not isinstance(retry, RetryPolicy):
        raise ConfigError(f"{what}(retry={retry!r}): it needs a RetryPolicy(…)")


def _secret_as_text(value: Any) -> str:
    if isinstance(value, Secret):
        return str(value)
    raise TypeError(f"a {type(value).__name__} is no JSON value")


def _json_bytes(value: Any) -> bytes:
    return json_texts.dumps(value, ensure_ascii=False, allow_nan=False).encode()


def _send(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes | None,
    expect_status: tuple[int, ...] | None,
    retry: RetryPolicy | None,
) -> HttpAnswer:
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    origin = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    auth = None
    if parts.username is not None:  # in an address that is a secret
        auth = BasicAuth(unquote(parts.username), unquote(parts.password or ""))
    with HttpClient(origin, service=str(parts.hostname), auth=auth, retry=retry) as client:
        return client.request(method, path, headers=headers, body=body, expect_status=expect_status)


def _without_secrets(
    error: EtlkitError, filler: Filler, given: str | Secret, url: str
) -> EtlkitError:
    """The same error without secrets. If the address is one, its path must not be shown either."""
    if isinstance(error, ConfigError):
        return error
    if isinstance(given, Secret):
        filler.hide_also(url)
        path = urlsplit(url).path
        filler.hide_also(path if len(path) > 1 else "")
    return JobError(filler.without_secrets(str(error)))


def _json_of(answer: HttpAnswer) -> Any:
    try:
        return json_texts.loads(answer.body)
    except ValueError:
        return None
