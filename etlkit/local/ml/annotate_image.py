"""`ML.ANNOTATE_IMAGE(MODEL m, TABLE object_table, STRUCT([…] AS vision_features))`.

The model is a remote model of Cloud Vision; the annotator of the local Vision answers. If an image
fails, `ml_annotate_image_status` of its row says why, and the job succeeds.

Source: https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-annotate-image
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
from sqlglot import exp

from etlkit.local.bigquery.extensions import api_errors, grammar
from etlkit.local.bigquery.extensions.signatures import (
    MODEL,
    TABLE,
    Argument,
    ResultTable,
    Signature,
)
from etlkit.local.bigquery.extensions.sql_functions import PythonFunction, TableFunction, declare
from etlkit.local.buckets import Buckets
from etlkit.local.ml.catalog import VISION, find_model
from etlkit.local.ml.predictor import workers
from etlkit.local.vision.annotator import Annotator
from etlkit.local.vision.request import DEFAULT_MAX_RESULTS, ImageRequest

if TYPE_CHECKING:
    from pathlib import Path

    from etlkit.local.bigquery.extensions.subqueries import Scope

FEATURES: Final = (
    "FACE_DETECTION",
    "LANDMARK_DETECTION",
    "LOGO_DETECTION",
    "LABEL_DETECTION",
    "TEXT_DETECTION",
    "DOCUMENT_TEXT_DETECTION",
    "IMAGE_PROPERTIES",
    "OBJECT_LOCALIZATION",
)

_FUNCTION: Final = "etlkit_ml_annotate_image"
_ANSWER: Final = "_etlkit_answer"
_RESULT: Final = "ml_annotate_image_result"
_STATUS: Final = "ml_annotate_image_status"
_SIGNATURE: Final = Signature(
    "ML.ANNOTATE_IMAGE",
    (
        Argument("model", (MODEL,)),
        Argument("table", (TABLE,)),
        Argument("settings", ("STRUCT<vision_features ARRAY<STRING>>",)),
    ),
    ResultTable(((_RESULT, "JSON"), (_STATUS, "STRING")), has_input_columns=True),
)


def declare_functions(buckets_root: Path) -> None:
    """Declare ML.ANNOTATE_IMAGE over the images of these buckets."""
    declare(
        TableFunction(_SIGNATURE, grammar.AnnotateImage, _rewrite),
        python=[
            PythonFunction(
                _FUNCTION,
                _make_function(Annotator(Buckets(buckets_root))),
                "STRUCT(result VARCHAR, status VARCHAR)",
                parameters=["VARCHAR", "VARCHAR[]"],
                # Like a paid call of Vision: once per row, and not for rows that are filtered out.
                has_side_effects=True,
            )
        ],
    )


def _make_function(annotator: Annotator) -> Any:
    """Make the function that DuckDB calls with the addresses of images and the wanted features."""

    def annotate(uris: pa.ChunkedArray, features: pa.ChunkedArray) -> pa.StructArray:
        rows = zip(uris.to_pylist(), features.to_pylist(), strict=True)
        answered = list(workers().map(lambda row: _annotate(annotator, *row), rows))
        return pa.StructArray.from_arrays(
            [
                pa.array([result for result, _ in answered], pa.string()),
                pa.array([status for _, status in answered], pa.string()),
            ],
            names=["result", "status"],
        )

    return annotate


def _annotate(annotator: Annotator, uri: str, features: list[str]) -> tuple[str | None, str]:
    """The JSON of one image and the status of its row; "" = no error."""
    from google.protobuf.json_format import MessageToDict
    from google.rpc.code_pb2 import Code

    wanted = dict.fromkeys(features, DEFAULT_MAX_RESULTS)
    response = annotator.annotate(ImageRequest(b"", uri, wanted))
    status = ""
    if response.HasField("error"):
        status = f"{Code.Name(response.error.code)}: {response.error.message}"
        response.ClearField("error")
    found = MessageToDict(response, preserving_proto_field_name=True)
    return (json.dumps(found) if found or not status else None), status


async def _rewrite(table: exp.Table, scope: Scope) -> exp.Subquery:
    """Replace a call by the sub-query that computes it."""
    from etlkit.local.bigquery.extensions.object_tables import is_object_table

    node, context = table.this, scope.context
    name, model = find_model(node.this, context)
    if model.service != VISION:
        raise api_errors.invalid(
            f"ML.ANNOTATE_IMAGE needs a remote model with remote_service_type '{VISION}'; "
            f"{'.'.join(name)} is not one"
        )
    rows = node.expression
    if not isinstance(rows, exp.Table) or not is_object_table(
        grammar.name_of(rows, context.project), context
    ):
        raise api_errors.invalid("ML.ANNOTATE_IMAGE needs TABLE and the name of an object table")
    features = _features(node.args.get("params_struct"))
    names = exp.array(*(exp.Literal.string(feature) for feature in features))
    call = exp.func(_FUNCTION, exp.column("uri"), names)
    answered = exp.select("*", exp.alias_(call, _ANSWER)).from_(rows.copy())
    result = exp.func("STRUCT_EXTRACT", exp.column(_ANSWER), exp.Literal.string("result"))
    status = exp.func("STRUCT_EXTRACT", exp.column(_ANSWER), exp.Literal.string("status"))
    return (
        exp.select(
            exp.alias_(exp.ParseJSON(this=result), _RESULT),
            exp.alias_(status, _STATUS),
            exp.Star(except_=[exp.to_identifier(_ANSWER)]),
        )
        .from_(answered.subquery("_etlkit_rows"))
        .subquery()
    )


def _features(struct: exp.Expr | None) -> list[str]:
    """The names in `STRUCT([…] AS vision_features)`, in Vision's spelling."""
    fields = (
        {
            each.this.name.lower(): each.expression
            for each in struct.expressions
            if isinstance(each, exp.PropertyEQ)
        }
        if struct is not None
        else {}
    )
    array = fields.get("vision_features")
    given = array.expressions if isinstance(array, exp.Array) else []
    features = [str(each.this).upper() for each in given if isinstance(each, exp.Literal)]
    if not features or len(features) != len(given) or set(fields) != {"vision_features"}:
        raise api_errors.invalid(
            "ML.ANNOTATE_IMAGE needs STRUCT(['label_detection', ...] AS vision_features)"
        )
    unknown = [feature for feature in features if feature not in FEATURES]
    if unknown:
        raise api_errors.invalid(
            f"Invalid value in vision_features: {unknown[0]}; choose from {', '.join(FEATURES)}"
        )
    return features
