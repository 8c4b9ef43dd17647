"""Loads the ONNX models that come with the package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

MODELS_DIR = Path(__file__).parents[1] / "models"

# The images of a call are spread over the cores, one thread each. Measured with both models on
# 2 cores: 8 ms per image; with two threads in each session 9-10 ms, and 13-16 ms if they spin.
_THREADS_PER_CALL = 1


def load_session(file_name: str) -> onnxruntime.InferenceSession:
    """Load a model of `MODELS_DIR` for the CPU. Many threads may call its `run` at once."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = _THREADS_PER_CALL
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(
        str(MODELS_DIR / file_name), options, providers=["CPUExecutionProvider"]
    )


def to_tensor(image: Image.Image) -> NDArray[np.float32]:
    """Convert RGB pixels to float32 of shape (1, height, width, 3) in 0.0-1.0, for both models."""
    return np.asarray(image, np.float32)[np.newaxis] / np.float32(255)
