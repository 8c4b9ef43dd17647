"""Models in the emulator's catalog, which also answers the REST resource for models."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bqemulator.api.routes import models as routes
from bqemulator.catalog.etag import generate_etag
from bqemulator.catalog.models import ModelMeta

from etlkit.errors import ConfigError
from etlkit.local.bigquery.extensions import api_errors, grammar
from etlkit.local.bigquery.patches.table import PATCHES
from etlkit.local.ml.model_files import ModelFiles

if TYPE_CHECKING:
    from pathlib import Path

    from sqlglot import exp

    from etlkit.local.bigquery.extensions.statement_context import StatementContext
    from etlkit.local.ml.runtimes import Runtime
    from etlkit.local.ml.tensors import Signature

    Name = tuple[str, str, str]

# Source: https://cloud.google.com/bigquery/docs/reference/rest/v2/models#ModelType
REMOTE: Final = "MODEL_TYPE_UNSPECIFIED"
VISION: Final = "CLOUD_AI_VISION_V1"

_files: Final[dict[Path, ModelFiles]] = {}


@dataclass(frozen=True)
class Model:
    """What etlkit stores about a model in the emulator's catalog.

    Attributes:
        version: The version of an imported model's files; "" = a remote model.
        service: `remote_service_type` of a remote model; "" = an imported model.
        connection: The connection of a remote model.
    """

    version: str = ""
    service: str = ""
    connection: str = ""

    def to_text(self) -> str:
        """Convert to the text that the catalog stores."""
        return json.dumps({"etlkit": vars(self)})

    @classmethod
    def of(cls, meta: ModelMeta) -> Model | None:
        """Read a catalog entry; None = the emulator made it from a training query."""
        try:
            return cls(**json.loads(meta.training_query or "")["etlkit"])
        except (ValueError, KeyError, TypeError):
            return None


def files(context: StatementContext) -> ModelFiles:
    """The files of the server's models."""
    root = context.local_dir / "data" / "models"
    if root not in _files:
        _files[root] = ModelFiles(root)
    return _files[root]


def get(name: Name, context: StatementContext) -> ModelMeta | None:
    """The catalog entry of a model; None = there is none."""
    meta: ModelMeta | None = context.ctx.catalog.get_model(*name)
    return meta


def put(
    name: Name,
    model: Model,
    model_type: str,
    signature: Signature | None,
    context: StatementContext,
) -> None:
    """Add or replace an entry, and delete the files of a replaced model."""
    now = context.ctx.clock.now()
    meta = ModelMeta(
        project_id=name[0],
        dataset_id=name[1],
        model_id=name[2],
        model_type=model_type,
        feature_columns=tuple(tensor.field() for tensor in signature.inputs) if signature else (),
        label_columns=tuple(tensor.field() for tensor in signature.outputs) if signature else (),
        training_query=model.to_text(),
        creation_time=now,
        last_modified_time=now,
        etag=generate_etag(*name, str(now)),
    )
    if get(name, context) is None:
        context.ctx.catalog.create_model(meta)
    else:
        drop(name, context)
        context.ctx.catalog.create_model(meta)
    remove_orphans(context)


def drop(name: Name, context: StatementContext) -> None:
    """Delete an entry."""
    context.ctx.catalog.delete_model(*name)


def remove_orphans(context: StatementContext) -> None:
    """Delete files without a model. Models also vanish with their dataset, and over REST."""
    catalog = context.ctx.catalog
    used = set()
    for dataset in catalog.list_all_datasets():
        for meta in catalog.list_models(dataset.project_id, dataset.dataset_id):
            model = Model.of(meta)
            used.add(model.version if model is not None else "")
    on_disk = files(context)
    for version in set(on_disk.versions()) - used:
        on_disk.remove(version)


def find_model(reference: exp.Expr, context: StatementContext) -> tuple[Name, Model]:
    """Find the model that a query names.

    Raises:
        InvalidQueryError: The name has no dataset, or the emulator made the model.
        NotFoundError: There is no such model.
    """
    name = grammar.name_of(reference, context.project)
    api_errors.require_dataset(context, name)
    meta = get(name, context)
    if meta is None:
        raise api_errors.not_found("Model", name)
    model = Model.of(meta)
    if model is None:
        raise api_errors.invalid(
            f"Model {'.'.join(name)} is of type {meta.model_type}. The local BigQuery does not train "
            "models; it runs imported ones (TENSORFLOW, TENSORFLOW_LITE, ONNX)"
        )
    return name, model


def load_model(name: Name, model: Model, context: StatementContext) -> Runtime:
    """Load an imported model.

    Raises:
        InvalidQueryError: The model is remote, or cannot be loaded.
    """
    if model.service:
        raise api_errors.invalid(
            f"ML.PREDICT does not take the remote model {'.'.join(name)}; its service is "
            f"{model.service}, which ML.ANNOTATE_IMAGE calls"
        )
    try:
        return files(context).load(model.version)
    except ConfigError as exc:
        raise api_errors.invalid(exc.message) from exc


def _to_rest(meta: ModelMeta) -> dict[str, Any]:
    """Convert an entry to REST, with the service of a remote model."""
    body: dict[str, Any] = _plain_to_rest(meta)
    model = Model.of(meta)
    if model is not None and model.service:
        body["remoteModelInfo"] = {
            "connection": model.connection,
            "remoteServiceType": model.service,
        }
    return body


_plain_to_rest: Any = routes._model_to_rest  # noqa: SLF001


def apply() -> None:
    """Make models.get and models.list show remote models."""
    PATCHES.replace("bqemulator.api.routes.models:_model_to_rest", _to_rest)
