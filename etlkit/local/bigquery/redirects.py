"""Leads storage clients that name no endpoint to the local BigQuery.

`to_dataframe`, `to_arrow` and many libraries make a storage client by themselves as soon as a result is
larger than a page. They pass on the credentials of the BigQuery client, but not its endpoint: the rows
of the local BigQuery would be asked of the real one. Other processes get the same from
`etlkit.local.server.grpc_gateway`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from etlkit.errors import ConfigError
from etlkit.local.client_redirect import ClientRedirect

GRPC_ENDPOINT: Final = "ETLKIT_BIGQUERY_GRPC_ENDPOINT"

_SERVICES: Final = "google.cloud.bigquery_storage_v1.services"
_CLIENTS: Final = (
    (f"{_SERVICES}.big_query_read.client", "BigQueryReadClient"),
    (f"{_SERVICES}.big_query_write.client", "BigQueryWriteClient"),
)


@contextmanager
def redirect_storage() -> Iterator[None]:
    """Send the calls of storage clients to the endpoint in the environment, while inside.

    A client that is made with an `api_endpoint` or with a transport of its own is unchanged.
    """
    with ExitStack() as stack:
        for module, client in _CLIENTS:
            stack.enter_context(ClientRedirect(module, client, _change))
        yield


def _change(client: Any, args: tuple[Any, ...], options: dict[str, Any]) -> dict[str, Any]:
    endpoint = os.environ.get(GRPC_ENDPOINT)
    transport = options.get("transport")
    is_instance = not (transport is None or isinstance(transport, str) or callable(transport))
    if endpoint is None or args or is_instance or _names_endpoint(options.get("client_options")):
        return options
    if isinstance(transport, str) and transport != "grpc":
        raise ConfigError(
            f"the local BigQuery has no {transport} for storage clients that name no endpoint: it "
            f"would leave the local world. Make its transport with a channel to {endpoint}"
        )

    def local_transport(**_: Any) -> Any:
        """Instead of the transport of the real BigQuery, which would get the credentials."""
        return client.get_transport_class("grpc")(host=endpoint, channel=_channel(endpoint))

    return {**options, "transport": local_transport}


def _names_endpoint(client_options: Any) -> bool:
    if isinstance(client_options, dict):
        return bool(client_options.get("api_endpoint"))
    return bool(getattr(client_options, "api_endpoint", None))


def _channel(endpoint: str) -> Any:
    import grpc

    from etlkit.calls.local_token import local_token, with_metadata

    unbounded = ("grpc.max_send_message_length", "grpc.max_receive_message_length")
    options = [("grpc.enable_http_proxy", 0), *((name, -1) for name in unbounded)]
    channel = grpc.insecure_channel(endpoint, options=options)
    token = local_token(endpoint, os.environ)
    return (
        channel if token is None else with_metadata(channel, ("authorization", f"Bearer {token}"))
    )
