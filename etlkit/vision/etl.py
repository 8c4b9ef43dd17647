"""`VisionEtl`: a transform that asks Vision about the image of each row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, get_args

from etlkit.api.transform import EtlBase, RowResult
from etlkit.errors import ConfigError
from etlkit.rows.row import Row
from etlkit.vision.annotator import ImageAnnotator
from etlkit.vision.client import ClientAnnotator
from etlkit.vision.connection import check_region
from etlkit.vision.download import Downloader
from etlkit.vision.output_shapes import JsonColumn, Shape, check_shape
from etlkit.vision.packing import MAX_IMAGES
from etlkit.vision.request import Feature, ImageRequest, as_features, check_context
from etlkit.vision.rest import RestAnnotator

Client = Literal["rest", "grpc", "grpc-rest"]


class VisionEtl(EtlBase, abstract=True):
    """Asks Cloud Vision about the image of each row. Subclass it, name the class `Etl`, set `features`.

    Up to 16 images go into one call, and each is settled alone: a bad one is an `ImageError` of its
    row, one with a passing fault is asked for again. See `docs/guides/vision.md`.

    Attributes:
        features: What to look for: `Feature`s or their names. Each is billed for each image.
        shape: What a row becomes: `JsonColumn`, `Long` or `Wide`.
        client: `rest` = REST, without a client library; `grpc` = Google's client library; `grpc-rest`
            = Google's client library over its REST transport. The results are the same.
        uri_column: The column with the image's address, `gs://…` or `http(s)://…`.
        image_context: Hints for all images, as in the REST API; None = none.
        region: `eu` or `us`: images stay there; None = the global endpoint.
        keep_partial: Write a row also if Vision answered only some of its features; the answer then
            has an `error`. False = such a row is an error.
        downloader: Fetches images that Vision cannot; `Downloader(allow_private=True)` also from
            servers of your own.
    """

    features: ClassVar[Sequence[Feature | str]] = ()
    shape: ClassVar[Shape] = JsonColumn()
    client: ClassVar[Client] = "rest"
    uri_column: ClassVar[str] = "uri"
    image_context: ClassVar[Mapping[str, Any] | None] = None
    region: ClassVar[Literal["eu", "us"] | None] = None
    keep_partial: ClassVar[bool] = False
    downloader: ClassVar[Downloader] = Downloader()

    max_concurrency = 16
    batch_size = MAX_IMAGES

    _asked: ClassVar[tuple[Feature, ...]] = ()
    _derived_columns: ClassVar[tuple[str, ...] | None] = None
    _derived_schema: ClassVar[Mapping[str, str] | None] = None

    def __init_subclass__(cls, *, abstract: bool = False, **kwargs: Any) -> None:
        """Refuse a wrong description when the class is defined, and derive what follows from it."""
        super().__init_subclass__(abstract=abstract, **kwargs)
        if abstract:
            return
        cls._asked = as_features(cls.features)
        check_context(cls.image_context)
        if cls.client not in get_args(Client):
            raise ConfigError(f"client {cls.client!r}: it is one of {', '.join(get_args(Client))}")
        # Said now: where an endpoint is set, as with `--local`, a region is not looked at later.
        check_region(cls.region)
        check_shape(cls.shape)
        cls.shape.check(cls._asked)
        cls.units_per_row = len(cls._asked)
        # What a parent class derived is derived anew: shape or address may be others here.
        if cls.columns is None or cls.columns is cls._derived_columns:
            cls.columns = cls._derived_columns = (cls.uri_column,)
        if cls.output_schema is None or cls.output_schema is cls._derived_schema:
            made = cls.shape.schema()
            cls._derived_schema = None if made is None else {cls.uri_column: "STRING", **made}
            cls.output_schema = cls._derived_schema

    def make_annotator(self) -> ImageAnnotator:
        """Make this worker's annotator; override it for one of your own."""
        if self.client == "rest":
            return RestAnnotator(region=self.region, downloader=self.downloader)
        transport: Literal["grpc", "rest"] = "grpc" if self.client == "grpc" else "rest"
        return ClientAnnotator(transport=transport, region=self.region, downloader=self.downloader)

    def before_action(self) -> None:
        """Open this worker's connection."""
        self.annotator = self.make_annotator()

    def transform_batch(self, rows: list[Row]) -> list[RowResult | BaseException]:
        """Ask about several images."""
        requests = [
            ImageRequest(uri=row[self.uri_column], features=self._asked, context=self.image_context)
            for row in rows
        ]
        results: list[RowResult | BaseException] = []
        for row, annotation in zip(rows, self.annotator.annotate(requests), strict=True):
            answer, error = annotation.answer, annotation.error
            if error is not None and not (self.keep_partial and answer.keys() > {"error"}):
                results.append(error)
            else:
                results.append(self.shape.result(row, answer, self._asked))
        return results

    def after_action(self) -> None:
        """Close the connection, also when `before_action` never got so far."""
        if hasattr(self, "annotator"):
            self.annotator.close()
