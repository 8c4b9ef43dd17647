"""Cloud Vision: many images per call, a result for each, over REST or Google's client library.

```python
from etlkit.vision import Feature, VisionEtl

class Etl(VisionEtl):
    features = (Feature("LABEL_DETECTION", max_results=5),)
```

Importing this package does not import Google's libraries; a client imports them when it is made.
"""

from etlkit.vision.annotator import Annotation, ImageAnnotator
from etlkit.vision.client import ClientAnnotator
from etlkit.vision.download import Downloader
from etlkit.vision.etl import VisionEtl
from etlkit.vision.output_shapes import JsonColumn, Long, Wide
from etlkit.vision.request import Feature, ImageRequest
from etlkit.vision.rest import RestAnnotator

__all__ = [
    "Annotation",
    "ClientAnnotator",
    "Downloader",
    "Feature",
    "ImageAnnotator",
    "ImageRequest",
    "JsonColumn",
    "Long",
    "RestAnnotator",
    "VisionEtl",
    "Wide",
]
