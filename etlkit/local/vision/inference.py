"""The ONNX models that come with the package, and the tensors that they take."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from etlkit.local.model_folder import model_folder
from etlkit.local.onnx_session import load_session

if TYPE_CHECKING:
    import onnxruntime
    from numpy.typing import NDArray
    from PIL import Image


def load_model(file_name: str) -> onnxruntime.InferenceSession:
    """Load one of the models. Many threads may call its `run` at once."""
    return load_session(model_folder() / file_name)


def to_tensor(image: Image.Image) -> NDArray[np.float32]:
    """Convert RGB pixels to float32 of shape (1, height, width, 3) in 0.0-1.0, for both models."""
    return np.asarray(image, np.float32)[np.newaxis] / np.float32(255)
