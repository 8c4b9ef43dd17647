"""Classifies a whole image with EfficientNet-Lite0, by the 1,000 classes of ImageNet."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from PIL import Image

from etlkit.local.vision.inference import load_model, to_tensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_INPUT_SIDE = 224


class Classifier:
    """Computes class probabilities. Many threads may use it at once."""

    def __init__(self) -> None:
        self._session = load_model("efficientnet_lite0.i8.onnx")
        metadata = self._session.get_modelmeta().custom_metadata_map
        # The share of the shorter side, around the middle, that the model was trained on.
        self._crop = float(metadata["crop"])

    def probabilities(self, image: Image.Image) -> NDArray[np.float32]:
        """Probabilities of shape (1000,), in the order of `models/labels.json`; they sum to 1.

        Args:
            image: Upright, mode RGB, of any size.
        """
        side = max(1, int(min(image.size) * self._crop))
        left, top = (image.width - side) // 2, (image.height - side) // 2
        middle = image.crop((left, top, left + side, top + side))
        square = middle.resize((_INPUT_SIDE, _INPUT_SIDE), Image.Resampling.BICUBIC)
        (answer,) = self._session.run(["probabilities"], {"images": to_tensor(square)})
        return cast("NDArray[np.float32]", answer[0])
