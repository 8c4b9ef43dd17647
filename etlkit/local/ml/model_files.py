"""The files of imported models. They are copied when a model is created and never change again.

In BigQuery too "the model is frozen": later changes in the bucket have no effect.
Source: https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-create-tensorflow
"""

from __future__ import annotations

import shutil
import uuid
from collections import OrderedDict
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import TYPE_CHECKING, Final

from etlkit.errors import ConfigError
from etlkit.local.ml.runtimes import ONNX, TENSORFLOW, TENSORFLOW_LITE, Runtime, load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from etlkit.local.buckets import Buckets, StoredObject
    from etlkit.local.ml.tensors import Tensor

# Source: https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-create-onnx
MAX_MODEL_BYTES: Final = 450_000_000

_SAVED_MODEL: Final = "saved_model.pb"
_SUFFIXES: Final = {ONNX: ".onnx", TENSORFLOW_LITE: ".tflite"}

# The largest number of loaded models. A loaded model takes a few times the size of its file.
_MAX_LOADED: Final = 8


class ModelFiles:
    """The copies of all models, and the models that are loaded.

    Args:
        root: The folder of the copies. It gets one folder per version.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._loaded: OrderedDict[str, Runtime] = OrderedDict()
        self._lock = Lock()

    def freeze(self, model_type: str, model_path: str, buckets: Buckets) -> str:
        """Copy a model out of its bucket and load it once, to see that it works.

        Args:
            model_type: One of `runtimes.MODEL_TYPES`.
            model_path: `gs://bucket/folder/*`; for one file also `gs://bucket/model.onnx`.
            buckets: The buckets to read from.

        Returns:
            The version, for `load`.

        Raises:
            ConfigError: There is no object, no model or more than one, or it is too large, or it
                cannot be loaded.
        """
        objects = _objects(model_path, buckets)
        main = _main_object(model_type, model_path, objects)
        size = sum(stored.size for stored in objects)
        if size > MAX_MODEL_BYTES:
            raise ConfigError(
                f"The model at {model_path} has {size} bytes; at most {MAX_MODEL_BYTES} can be "
                "imported"
            )
        version = uuid.uuid4().hex
        folder = self._root / version
        base = main.uri.rpartition("/")[0]
        try:
            for stored in objects:
                _copy(stored, folder / "files" / stored.uri.removeprefix(base).lstrip("/"))
            name = "." if model_type == TENSORFLOW else PurePosixPath(main.uri).name
            (folder / "main").write_text(f"{model_type}\n{name}", encoding="utf-8")
            _check_batch(self.load(version).signature.inputs)
        except BaseException:
            self.remove(version)
            raise
        return version

    def load(self, version: str) -> Runtime:
        """Load a model, unless it is loaded already.

        Raises:
            ConfigError: The copy is gone or cannot be loaded.
        """
        with self._lock:
            runtime = self._loaded.get(version)
            if runtime is None:
                runtime = self._loaded[version] = self._load(version)
                while len(self._loaded) > _MAX_LOADED:
                    self._loaded.popitem(last=False)
            self._loaded.move_to_end(version)
            return runtime

    def remove(self, version: str) -> None:
        """Delete a copy. A running query keeps the loaded model."""
        with self._lock:
            self._loaded.pop(version, None)
        shutil.rmtree(self._root / version, ignore_errors=True)

    def versions(self) -> list[str]:
        """The versions of all copies on disk."""
        if not self._root.is_dir():
            return []
        return sorted(folder.name for folder in self._root.iterdir())

    def _load(self, version: str) -> Runtime:
        folder = self._root / version
        try:
            model_type, name = (folder / "main").read_text(encoding="utf-8").split("\n")
        except OSError as exc:
            raise ConfigError(
                f"The files of the model are gone from {folder}; create it again with CREATE OR "
                "REPLACE MODEL"
            ) from exc
        return load(model_type, folder / "files" / name)


def _check_batch(inputs: Sequence[Tensor]) -> None:
    """Raise if the model cannot run on a single row.

    Source: https://cloud.google.com/bigquery/docs/object-table-inference#limitations
    """
    for tensor in inputs:
        if not tensor.shape or tensor.shape[0] not in {None, 1}:
            raise ConfigError(
                f"The input {tensor.describe()} cannot take a single row: its first size is the "
                "batch, which must be 1 or unknown"
            )


def _objects(model_path: str, buckets: Buckets) -> Sequence[StoredObject]:
    if "*" not in model_path:
        return [buckets.get(model_path)]
    if not model_path.endswith("/*") or "*" in model_path[:-1]:
        raise ConfigError(
            f"model_path {model_path!r} may only have one '*', at its end: gs://bucket/folder/*"
        )
    objects = buckets.list(model_path)
    if not objects:
        raise ConfigError(
            f"There is no object at {model_path}; put the model there with: "
            f"python -m etlkit.local put --recursive FOLDER {model_path[:-1]}"
        )
    return objects


def _main_object(model_type: str, model_path: str, objects: Sequence[StoredObject]) -> StoredObject:
    """The object that is the model. The others are its data."""
    if model_type == TENSORFLOW:
        base = model_path.removesuffix("*").removesuffix(_SAVED_MODEL)
        for stored in objects:
            if stored.uri == base + _SAVED_MODEL:
                return stored
        elsewhere = [stored.uri for stored in objects if stored.uri.endswith("/" + _SAVED_MODEL)]
        hint = f"; there is {elsewhere[0]}" if elsewhere else ""
        raise ConfigError(
            f"There is no {_SAVED_MODEL} directly in {base}{hint}. model_path is the folder of a "
            "SavedModel followed by /*"
        )
    suffix = _SUFFIXES[model_type]
    found = [stored for stored in objects if stored.uri.endswith(suffix)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise ConfigError(f"There is no file *{suffix} at {model_path}; it has {_named(objects)}")
    raise ConfigError(
        f"There are {len(found)} files *{suffix} at {model_path}: {_named(found)}. Name one of them"
    )


def _named(objects: Sequence[StoredObject]) -> str:
    names = [stored.uri.rpartition("/")[2] for stored in objects]
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _copy(stored: StoredObject, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(stored.path, target)
