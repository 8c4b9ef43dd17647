"""`VisionEtl`: a transform that asks Vision about the image of each row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, get_args

from etlkit.api.transform import EtlBase, RowResult
from etlkit.errors import ConfigError
from etlkit.rows.row import Row
from etlkit.vision.annotator import ImageAnnotator
from etlkit.vision.client import ClientAnnotator
from etlkit.vision.download import Downloader
from etlkit.vision.endpoint import check_region
from etlkit.vision.output_shapes import JsonColumn, Shape, check_shape
from etlkit.vision.packing import MAX_IMAGES
from etlkit.vision.request import Feature, ImageRequest, as_features, check_context
from etlkit.vision.rest import RestAnnotator

Client = Literal["rest", "grpc", "grpc-rest"]


class VisionEtl(EtlBase, abstract=True):
    """Asks Cloud Vision about the image of each row. Subclass it, name the class `Etl`, set `features`.

    Up to 16 images go into one call, and each has its own result: a bad image is an `ImageError` of
    its row, and an image with a transient error is retried. See `docs/guides/vision.md`.

    Attributes:
        features: What to look for: `Feature`s or their names. Each is billed for each image.
        shape: The form of the output rows: `JsonColumn`, `Long` or `Wide`.
        client: `rest` = REST, without a client library; `grpc` = Google's client library; `grpc-rest`
            = Google's client library over its REST transport. The results are the same.
        uri_column: The column with the image's address, `gs://…` or `http(s)://…`.
        image_context: Hints for all images, as in the REST API; None = no hints.
        region: `eu` or `us`: images stay there; None = the global endpoint.
        keep_partial: Also write a row if Vision answered only some of its features; the answer then
            has an `error`. False = such a row fails.
        downloader: Downloads images that Vision cannot fetch; `Downloader(allow_private=True)` also
            from your own servers.
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
        """Check the attributes when the class is defined, and derive columns and schema from them.

        Raises:
            ConfigError: An attribute is wrong.
        """
        super().__init_subclass__(abstract=abstract, **kwargs)
        if abstract:
            return
        cls._asked = as_features(cls.features)
        check_context(cls.image_context)
        if cls.client not in get_args(Client):
            raise ConfigError(f"client {cls.client!r}: use one of {', '.join(get_args(Client))}")
        # Checked now: with an endpoint in the environment, as for `--local`, no region is used later.
        check_region(cls.region)
        check_shape(cls.shape)
        cls.shape.check(cls._asked)
        cls.units_per_row = len(cls._asked)
        # What a parent class derived is derived again: shape or uri_column may differ here.
        if cls.columns is None or cls.columns is cls._derived_columns:
            cls.columns = cls._derived_columns = (cls.uri_column,)
        if cls.output_schema is None or cls.output_schema is cls._derived_schema:
            made = cls.shape.schema()
            cls._derived_schema = None if made is None else {cls.uri_column: "STRING", **made}
            cls.output_schema = cls._derived_schema

    def make_annotator(self) -> ImageAnnotator:
        """Make this worker's annotator. Override it to use your own."""
        if self.client == "rest":
            return RestAnnotator(region=self.region, downloader=self.downloader)
        transport: Literal["grpc", "rest"] = "grpc" if self.client == "grpc" else "rest"
        return ClientAnnotator(transport=transport, region=self.region, downloader=self.downloader)

    def before_action(self) -> None:
        """Open this worker's connection."""
        self.annotator: ImageAnnotator = self.make_annotator()

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
        """Close the connection, if `before_action` opened one."""
        if hasattr(self, "annotator"):
            self.annotator.close()
