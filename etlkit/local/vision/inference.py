"""The ONNX models that come with the package, and the tensors that they take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from etlkit.local.onnx_session import load_session

if TYPE_CHECKING:
    import onnxruntime
    from numpy.typing import NDArray
    from PIL import Image

MODELS_DIR = Path(__file__).parents[1] / "models"


def load_model(file_name: str) -> onnxruntime.InferenceSession:
    """Load a model of `MODELS_DIR`. Many threads may call its `run` at once."""
    return load_session(MODELS_DIR / file_name)


def to_tensor(image: Image.Image) -> NDArray[np.float32]:
    """Convert RGB pixels to float32 of shape (1, height, width, 3) in 0.0-1.0, for both models."""
    return np.asarray(image, np.float32)[np.newaxis] / np.float32(255)
