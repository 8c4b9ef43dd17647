"""Vision through Google's client library: gRPC, or the library's own REST transport."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any, Final, Literal, get_args

from etlkit.calls.classify import from_grpc
from etlkit.calls.local_token import with_metadata
from etlkit.calls.run_calls import caller
from etlkit.errors import ApiError, ConfigError, EtlkitError, RetryableError
from etlkit.vision.annotator import Annotation
from etlkit.vision.batching import BatchAnnotator, without_key
from etlkit.vision.credentials import default_credentials
from etlkit.vision.download import Downloader
from etlkit.vision.endpoint import (
    SERVICE,
    VisionEndpoint,
    grpc_endpoint,
    rest_endpoint,
)
from etlkit.vision.packing import indented_json_bytes, proto_bytes
from etlkit.vision.request import ImageRequest

Transport = Literal["grpc", "rest"]

_ADDRESS: Final = re.compile(r"^POST https?://\S+: ")
"""What Google's REST transport puts before the service's own message."""

_CHANNEL_OPTIONS: Final = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_http_proxy", 0),  # no proxy leads to loopback
)


class ClientAnnotator:
    """An `ImageAnnotator` over `google-cloud-vision`.

    The library's own retries are off: only `etlkit.calls.caller` retries.

    Args:
        endpoint: Address and key; None = `ETLKIT_VISION_GRPC_ENDPOINT` (for the transport `rest`:
            `ETLKIT_VISION_ENDPOINT`) or Cloud Vision, with `ETLKIT_VISION_API_KEY` or Google's
            application default credentials.
        transport: `grpc` or `rest`.
        region: `eu` or `us`; None = the global endpoint. Only without `endpoint`.
        downloader: Downloads images that Vision cannot fetch; None = only from the public internet.

    Raises:
        ConfigError: No credentials, an unknown transport, or an invalid endpoint.
    """

    def __init__(
        self,
        endpoint: VisionEndpoint | None = None,
        *,
        transport: Transport = "grpc",
        region: str | None = None,
        downloader: Downloader | None = None,
    ) -> None:
        if transport not in get_args(Transport):
            raise ConfigError(
                f"transport {transport!r}: use one of {', '.join(get_args(Transport))}"
            )
        find = grpc_endpoint if transport == "grpc" else rest_endpoint
        found = endpoint or find(region=region)
        self._client = _make_client(found, transport)
        self._images = BatchAnnotator(
            without_key(self._call, found.api_key),
            proto_bytes if transport == "grpc" else indented_json_bytes,
            downloader or Downloader(),
            (transport, found),
        )

    def annotate(self, requests: Sequence[ImageRequest]) -> list[Annotation]:
        """As `ImageAnnotator.annotate`."""
        return self._images.annotate(requests)

    def close(self) -> None:
        """Close the channel."""
        self._client.transport.close()

    def _call(self, requests: Sequence[ImageRequest], units: int) -> list[Any]:
        from google.protobuf.json_format import MessageToDict

        batch = self._messages.batch(requests)

        def attempt(timeout_s: float) -> Any:
            try:
                return self._client.batch_annotate_images(
                    request=batch, retry=None, timeout=timeout_s
                )
            except (self._messages.parse_error, UnicodeDecodeError):
                raise RetryableError(
                    f"{SERVICE} sent an answer that cannot be read", code="truncated"
                ) from None
            except Exception as error:
                # `from None`: the original may hold the request, and the key with it.
                raise _classified(error) from None

        answer = caller(SERVICE).call(attempt, units=units)
        return [MessageToDict(each) for each in type(answer).pb(answer).responses]

    @cached_property
    def _messages(self) -> _Messages:
        return _Messages()


class _Messages:
    """Google's message types, imported once."""

    def __init__(self) -> None:
        from google.cloud.vision_v1.types import BatchAnnotateImagesRequest
        from google.protobuf.json_format import ParseDict, ParseError

        self._request = BatchAnnotateImagesRequest
        self._parse: Callable[..., Any] = ParseDict
        self.parse_error = ParseError
        self._asked: tuple[Any, Any] = (None, None)
        self._template: Any = None

    def batch(self, requests: Sequence[ImageRequest]) -> Any:
        """The request of a call. Image files are put in as they are, without base64."""
        message = self._request.pb()()
        for request in requests:
            one = message.requests.add()
            one.CopyFrom(self._without_image(request))
            if request.content is not None:
                one.image.content = request.content
            else:
                one.image.source.image_uri = request.uri
        return self._request.wrap(message)

    def _without_image(self, request: ImageRequest) -> Any:
        """Features and context. They are the same for all images of a transform, so made once."""
        features, context = self._asked
        if features is not request.features or context is not request.context:
            asked = request.json_without_content()
            del asked["image"]
            self._template = self._parse(asked, self._request.pb()().requests.add())
            self._asked = (request.features, request.context)
        return self._template


def _classified(error: Exception) -> Exception:
    """Classify a failed call. Unknown errors end the run: no single image caused them."""
    message = getattr(error, "message", None)
    if isinstance(message, str):
        error.message = _ADDRESS.sub("", message)  # type: ignore[attr-defined]
    found = from_grpc(error, SERVICE)
    if isinstance(found, EtlkitError):
        return found
    name = type(error).__name__
    return ApiError(f"{SERVICE}: the call failed with {name}", service=SERVICE)


def _make_client(endpoint: VisionEndpoint, transport: Transport) -> Any:
    """An `ImageAnnotatorClient`.

    The key becomes credentials of the channel. Metadata of calls may be logged by the library.
    """
    from google.api_core.client_options import ClientOptions
    from google.cloud.vision_v1 import ImageAnnotatorClient

    address = endpoint.address
    if not address.secure:
        made = _plain_grpc(endpoint) if transport == "grpc" else _plain_rest(endpoint)
        return ImageAnnotatorClient(transport=made)
    options = ClientOptions(api_endpoint=address.target, api_key=endpoint.api_key)
    credentials = None if endpoint.api_key is not None else default_credentials()
    return ImageAnnotatorClient(
        transport=transport, client_options=options, credentials=credentials
    )


def _plain_grpc(endpoint: VisionEndpoint) -> Any:
    import grpc
    from google.cloud.vision_v1.services.image_annotator.transports import (
        ImageAnnotatorGrpcTransport,
    )

    target = endpoint.address.target
    channel = grpc.insecure_channel(target, options=_CHANNEL_OPTIONS)
    metadata = []
    if endpoint.api_key is not None:
        metadata.append(("x-goog-api-key", endpoint.api_key))
    if endpoint.local_token is not None:
        metadata.append(("authorization", f"Bearer {endpoint.local_token}"))
    if metadata:
        channel = with_metadata(channel, *metadata)
    return ImageAnnotatorGrpcTransport(host=target, channel=channel)


def _plain_rest(endpoint: VisionEndpoint) -> Any:
    from google.auth.api_key import Credentials
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.vision_v1.services.image_annotator.transports import (
        ImageAnnotatorRestTransport,
    )

    key = endpoint.api_key
    kind: Any = AnonymousCredentials if key is None else partial(Credentials, key)
    made = ImageAnnotatorRestTransport(
        host=endpoint.address.target,
        url_scheme="http",
        credentials=kind(),
    )
    made._session.trust_env = False  # noqa: SLF001 - no proxy leads to loopback
    return made
