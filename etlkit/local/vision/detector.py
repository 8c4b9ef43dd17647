"""Finds objects in an image with SSD MobileNetV2, under the names of Open Images."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from PIL import Image

from etlkit.local.vision.inference import load_model, to_tensor

if TYPE_CHECKING:
    from collections.abc import Mapping

# Vision returns objects from this score on. The model itself returns them from 0.3 on.
MIN_SCORE = 0.5

_INPUT_SIDE = 300

# Open Images ids, which Vision's `mid` uses too.
# Source: https://storage.googleapis.com/openimages/v5/class-descriptions-boxable.csv
MIDS: Final[Mapping[str, str]] = {
    "Bicycle": "/m/0199g",
    "Book": "/m/0bt_c3",
    "Boot": "/m/01b638",
    "Bottle": "/m/04dr76w",
    "Box": "/m/025dyy",
    "Camera": "/m/0dv5r",
    "Car": "/m/0k4j",
    "Cat": "/m/01yrx",
    "Cattle": "/m/01xq0k1",
    "Chair": "/m/01mzpv",
    "Coffee cup": "/m/02p5f1q",
    "Computer monitor": "/m/02522",
    "Computer mouse": "/m/020lf",
    "Desk": "/m/01y9k5",
    "Dog": "/m/0bt9lr",
    "Footwear": "/m/09j5n",
    "High heels": "/m/06k2mb",
    "Laptop": "/m/01c648",
    "Mug": "/m/02jvh9",
    "Person": "/m/01g317",
    "Stationary bicycle": "/m/03kt2w",
    "Table": "/m/04bcr3",
    "Vehicle": "/m/07yv9",
}


@dataclass(frozen=True)
class DetectedObject:
    """One object in an image. The box is in 0.0-1.0 of width and height, origin top left."""

    name: str
    mid: str
    score: float
    xmin: float
    ymin: float
    xmax: float
    ymax: float


class Detector:
    """Finds 23 kinds of objects. Many threads may use it at once."""

    def __init__(self) -> None:
        self._session = load_model("ssd_mobilenetv2_oidv4.f16.onnx")
        metadata = self._session.get_modelmeta().custom_metadata_map
        self._names: list[str] = json.loads(metadata["labels"])

    def detect(self, image: Image.Image, *, min_score: float = MIN_SCORE) -> list[DetectedObject]:
        """Find objects, highest score first.

        Args:
            image: Upright, mode RGB, of any size. It is stretched to a square for the model.
            min_score: 0.0-1.0. The model returns nothing below 0.3.

        Returns:
            At most 20 for each name; [] = no known object was found.
        """
        square = image.resize((_INPUT_SIDE, _INPUT_SIDE), Image.Resampling.BILINEAR)
        selected, boxes, scores = self._session.run(
            ["selected", "boxes", "scores"], {"images": to_tensor(square)}
        )
        found = []
        for n, class_index, box_index in selected:
            score = float(scores[n, class_index, box_index])
            if score < min_score:
                continue
            name = self._names[class_index]
            ymin, xmin, ymax, xmax = (float(edge) for edge in boxes[n, box_index])
            found.append(DetectedObject(name, MIDS[name], score, xmin, ymin, xmax, ymax))
        return sorted(found, key=lambda each: -each.score)
