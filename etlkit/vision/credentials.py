"""Google's credentials for Vision."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from etlkit.calls.classify import is_transient
from etlkit.calls.run_calls import caller
from etlkit.errors import ApiError, ConfigError, RetryableError
from etlkit.vision.endpoint import KEY

_SCOPES: Final = ("https://www.googleapis.com/auth/cloud-vision",)
"""Source: https://cloud.google.com/vision/docs/auth"""


def default_credentials() -> Any:
    """Google's application default credentials.

    Raises:
        ConfigError: There are none.
    """
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError

    try:
        credentials, _ = google.auth.default(scopes=_SCOPES)
    except DefaultCredentialsError:
        # Google's own text is long and names files; ours says what to do.
        raise ConfigError(
            f"there are no credentials for Cloud Vision: set {KEY}, or run "
            "`gcloud auth application-default login`, or run the job with --local"
        ) from None
    return credentials


def auth_headers(credentials: Any, url: str) -> dict[str, str]:
    """The headers with the credentials, which are renewed when they have expired.

    Args:
        credentials: From `default_credentials`.
        url: What will be called.

    Raises:
        ApiError: The credentials are refused.
        RetryableError: The token server cannot be reached.
    """
    from google.auth.exceptions import GoogleAuthError
    from google.auth.transport.requests import Request

    def renew(timeout_s: float) -> dict[str, str]:
        headers: dict[str, str] = {}
        try:
            request = partial(Request(), timeout=timeout_s)
            credentials.before_request(request, "POST", url, headers)
        except GoogleAuthError as error:
            if is_transient(error):
                raise RetryableError(
                    "google-auth: the token server cannot be reached", code="unreachable"
                ) from None
            raise ApiError(
                f"google-auth: no token for these credentials ({type(error).__name__}): run "
                "`gcloud auth application-default login` again",
                service="google-auth",
            ) from None
        return headers

    return caller("google-auth").call(renew, units=0)
