"""Opens ONNX models the way both the local Vision and ML.PREDICT run them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import onnxruntime

SILENT: Final = 4
"""The log level at which onnxruntime only logs fatal errors."""

# Many images are worked on at once, one thread each. Measured with both models of the local Vision on
# 2 cores: 8 ms per image; with two threads in each session 9-10 ms, and 13-16 ms if they spin.
_THREADS_PER_CALL: Final = 1


def load_session(path: Path, *, is_silent: bool = False) -> onnxruntime.InferenceSession:
    """Load a model for the CPU. Many threads may call its `run` at once.

    Args:
        path: The `.onnx` file.
        is_silent: Whether warnings about the model are left out of the server's log.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = _THREADS_PER_CALL
    options.inter_op_num_threads = 1
    if is_silent:
        options.log_severity_level = SILENT
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
