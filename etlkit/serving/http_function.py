"""A remote function for the Functions Framework, and so for Cloud Run functions.

https://github.com/GoogleCloudPlatform/functions-framework-python
"""

from __future__ import annotations

import atexit
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from etlkit.serving.remote_function import RefusedRequestError, RemoteFunction, ServiceOptions
from etlkit.serving.signature import parse_columns

if TYPE_CHECKING:
    from etlkit.api.job import TransferJob

_GRACE_S = 8.0
_JSON = {"Content-Type": "application/json"}

Answer: TypeAlias = tuple[bytes, int, dict[str, str]]


def remote_function(job: TransferJob, columns: str, **options: Any) -> Callable[[Any], Answer]:
    """Make the function that the Functions Framework calls for each request.

    ```python
    # main.py
    import functions_framework

    from etlkit import remote_function
    from jobs.shout import job

    shout = functions_framework.http(remote_function(job, "word STRING"))
    ```

    Args:
        job: For its transform, its retries, limits and caps. Its source and sink are not used.
        columns: Names and types of the arguments, e.g. `uri STRING, size INT64`.
        options: As in `etlkit.serving.remote_function.ServiceOptions`, e.g. `timeout_s=290`.

    Returns:
        A function of a `flask.Request`. Workers start with the first request, in the process that
        answers it; at the process's end, rows at work have some seconds to finish.

    Raises:
        ConfigError: The transform cannot be served, or the columns are not those that it reads.
    """
    function = RemoteFunction(job, parse_columns(columns), ServiceOptions(**options))
    atexit.register(function.close, _GRACE_S)

    def answer(request: Any) -> Answer:
        try:
            _check(request)
            batch = function.start(request.get_data())
            batch.wait()
            return function.answer(batch), 200, _JSON
        except RefusedRequestError as refused:
            return refused.body, refused.status, _JSON

    return answer


def _check(request: Any) -> None:
    if request.method != "POST":
        raise RefusedRequestError(405, "BigQuery sends POST")
    if "Origin" in request.headers:
        raise RefusedRequestError(403, "web pages may not call this service")
