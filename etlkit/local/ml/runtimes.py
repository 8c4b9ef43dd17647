"""Loads and runs models: ONNX files with onnxruntime, TensorFlow's with OpenVINO.

A call runs on one thread, and many threads may call `run` at once. So each core works on one image
from decoding to answer, which is faster than all cores on one image.
"""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING, Any, Final, Protocol

from etlkit.errors import ConfigError, missing_packages
from etlkit.local.bigquery.patches.work import StoppedError, stoppable
from etlkit.local.ml.tensors import BIGQUERY_TYPES, Signature, Tensor
from etlkit.local.onnx_session import SILENT, load_session

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

ONNX: Final = "ONNX"
TENSORFLOW: Final = "TENSORFLOW"
TENSORFLOW_LITE: Final = "TENSORFLOW_LITE"
MODEL_TYPES: Final = (TENSORFLOW, TENSORFLOW_LITE, ONNX)

_ONNX_DTYPES: Final = {
    **{f"tensor({name})": name for name in BIGQUERY_TYPES},
    "tensor(float)": "float32",
    "tensor(double)": "float64",
}
_NO_RULE: Final = (
    "No conversion rule found for operations:",
    "no translator found for operation(s):",  # up to OpenVINO 2025.0
)

Arrays = list["NDArray[np.generic]"]


class Runtime(Protocol):
    """A loaded model. Many threads may use it at once.

    Attributes:
        signature: Its inputs and outputs.
    """

    signature: Signature

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """Run the model once.

        Args:
            inputs: One array per input, by name. The first dimension is the batch.

        Returns:
            One array per output, in order.
        """
        ...


def load(model_type: str, path: Path) -> Runtime:
    """Load a model.

    Args:
        model_type: One of `MODEL_TYPES`.
        path: The `.onnx` or `.tflite` file, or the folder with `saved_model.pb`.

    Raises:
        ConfigError: It cannot be loaded, or has strings; or OpenVINO is not installed.
    """
    if model_type == ONNX:
        return OnnxRuntime(path)
    if importlib.util.find_spec("openvino") is None:
        raise missing_packages(
            f"models of type {model_type} need the package openvino", "local-tensorflow"
        )
    return OpenVinoRuntime(path)


class OnnxRuntime:
    """An ONNX model, run by onnxruntime."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        try:
            self._session = load_session(path, is_silent=True)
        except Exception as exc:  # onnxruntime has a class for each status
            raise ConfigError(f"The ONNX model cannot be loaded: {_first_line(exc)}") from exc
        self.signature: Signature = Signature(
            tuple(_onnx_tensor(node) for node in self._session.get_inputs()),
            tuple(_onnx_tensor(node) for node in self._session.get_outputs()),
        )
        self._names = [tensor.name for tensor in self.signature.outputs]
        self._make_options = onnxruntime.RunOptions

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """See `Runtime.run`. A model that does not end stops with its statement."""
        options = self._make_options()
        options.log_severity_level = SILENT
        try:
            with stoppable(lambda: setattr(options, "terminate", True)):
                answers: Arrays = self._session.run(self._names, dict(inputs), options)
        except StoppedError:
            raise
        except Exception as exc:
            raise ConfigError(f"The model failed: {_first_line(exc)}") from exc
        return answers


class OpenVinoRuntime:
    """A TensorFlow SavedModel or a TensorFlow Lite model, run by OpenVINO."""

    def __init__(self, path: Path) -> None:
        import threading

        import openvino

        core = openvino.Core()
        cores = os.cpu_count() or 1
        options = {
            # Without this, CPUs with bfloat16 units round to eight bits of mantissa.
            "INFERENCE_PRECISION_HINT": "f32",
            # Each stream works on one request at a time.
            "NUM_STREAMS": cores,
            "INFERENCE_NUM_THREADS": cores,
        }
        try:
            model = core.read_model(path)
            _refuse_strings(model)
            self._compiled = core.compile_model(model, "CPU", options)
        except ConfigError:
            raise
        except Exception as exc:  # OpenVINO raises RuntimeError for everything
            raise ConfigError(f"The model cannot be loaded: {_openvino_reason(exc)}") from exc
        self.signature: Signature = Signature(
            tuple(_openvino_tensor(port) for port in self._compiled.inputs),
            tuple(_openvino_tensor(port) for port in self._compiled.outputs),
        )
        # A request holds the buffers of one call, so each thread has its own.
        self._requests = threading.local()

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """See `Runtime.run`."""
        request = getattr(self._requests, "request", None)
        if request is None:
            request = self._requests.request = self._compiled.create_infer_request()
        try:
            with stoppable(request.cancel):
                answer = request.infer([inputs[tensor.name] for tensor in self.signature.inputs])
        except StoppedError:
            raise
        except Exception as exc:
            raise ConfigError(f"The model failed: {_openvino_reason(exc)}") from exc
        return [answer[index].copy() for index in range(len(self.signature.outputs))]


def _onnx_tensor(node: Any) -> Tensor:
    dtype = _ONNX_DTYPES.get(node.type)
    if dtype is None:
        raise _unsupported(node.name, node.type)
    sizes = tuple(size if isinstance(size, int) and size > 0 else None for size in node.shape)
    return Tensor(node.name, dtype, sizes)


def _openvino_tensor(port: Any) -> Tensor:
    dtype = port.element_type.to_dtype().name
    if dtype not in BIGQUERY_TYPES:
        raise _unsupported(port.any_name, port.element_type.get_type_name())
    sizes = tuple(size.get_length() if size.is_static else None for size in port.partial_shape)
    return Tensor(port.any_name, dtype, sizes)


def _refuse_strings(model: Any) -> None:
    for port in (*model.inputs, *model.outputs):
        kind = port.element_type.get_type_name()
        if kind == "string":
            raise _unsupported(port.any_name, kind)


def _unsupported(name: str, kind: str) -> ConfigError:
    return ConfigError(
        f"The tensor {name} is of type {kind}. The local BigQuery runs models with numbers and BOOL "
        "only, not with strings, sequences or maps. Export the model without that part"
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", maxsplit=1)[0]


def _openvino_reason(error: Exception) -> str:
    """The last line of the message; the first lines only name OpenVINO's source files."""
    lines = [line.strip(" -") for line in str(error).splitlines() if line.strip()]
    for line in lines:
        for no_rule in _NO_RULE:
            _, is_there, operations = line.partition(no_rule)
            if is_there:
                return f"OpenVINO does not support its operations:{operations}"
    return (lines[-1:] or ["unknown"])[0]
