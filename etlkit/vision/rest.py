"""Vision over REST through `HttpClient`: no client library, and little processor time per call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from etlkit.calls.http import HttpClient
from etlkit.errors import ApiError
from etlkit.vision.annotator import Annotation
from etlkit.vision.batching import BatchAnnotator, without_key
from etlkit.vision.credentials import auth_headers, default_credentials
from etlkit.vision.download import Downloader
from etlkit.vision.endpoint import SERVICE, VisionEndpoint, rest_endpoint
from etlkit.vision.packing import json_bytes
from etlkit.vision.request import ImageRequest

_PATH = "/v1/images:annotate"


class RestAnnotator:
    """An `ImageAnnotator` over REST.

    Args:
        endpoint: Address and key; None = `ETLKIT_VISION_ENDPOINT` or Cloud Vision, with
            `ETLKIT_VISION_API_KEY` or Google's application default credentials.
        region: `eu` or `us`; None = the global endpoint. Only without `endpoint`.
        downloader: Downloads images that Vision cannot fetch; None = only from the public internet.

    Raises:
        ConfigError: No credentials, or an invalid endpoint.
    """

    def __init__(
        self,
        endpoint: VisionEndpoint | None = None,
        *,
        region: str | None = None,
        downloader: Downloader | None = None,
    ) -> None:
        self._endpoint = endpoint or rest_endpoint(region=region)
        self._http: HttpClient | None = None
        self._headers: dict[str, str] = {}
        self._credentials: Any = None
        found = self._endpoint
        if found.api_key is None and not found.is_anonymous:
            self._credentials = default_credentials()
        self._images = BatchAnnotator(
            without_key(self._call, found.api_key),
            json_bytes,
            downloader or Downloader(),
            ("rest", found),
        )

    def annotate(self, requests: Sequence[ImageRequest]) -> list[Annotation]:
        """As `ImageAnnotator.annotate`."""
        return self._images.annotate(requests)

    def close(self) -> None:
        """Close the connection pool."""
        if self._http is not None:
            self._http.close()
            self._http = None

    def _call(self, requests: Sequence[ImageRequest], units: int) -> list[Any]:
        body = {"requests": [request.to_json() for request in requests]}
        answer = self._client().post_json(_PATH, body, units=units)
        answers = answer.get("responses", []) if isinstance(answer, dict) else None
        if not isinstance(answers, list):
            raise ApiError("vision sent an answer that cannot be read", service=SERVICE)
        return answers

    def _client(self) -> HttpClient:
        """The client with the current token; a new one is made when it changes, about once an hour."""
        headers = self._auth()
        if self._http is None or headers != self._headers:
            self.close()
            self._http = HttpClient(self._endpoint.address.url, service=SERVICE, headers=headers)
            self._headers = headers
        return self._http

    def _auth(self) -> dict[str, str]:
        endpoint = self._endpoint
        if self._credentials is not None:
            return auth_headers(self._credentials, endpoint.address.url)
        return {} if endpoint.api_key is None else {"X-Goog-Api-Key": endpoint.api_key}
