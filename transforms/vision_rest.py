"""Ask Cloud Vision, over REST, which objects are on each photo."""

import os

from etlkit import ConfigError, EtlBase, ImageError
from etlkit.http import HttpClient

ENDPOINT = "https://vision.googleapis.com"
MAX_RESULTS = 10


class Etl(EtlBase):
    """Adds `response`: Vision's answer to one OBJECT_LOCALIZATION request for `uri`, as JSON.

    Environment:
        ETLKIT_VISION_API_KEY: Key for the real API.
        ETLKIT_VISION_ENDPOINT: `http://host:port` of another server that speaks Vision's REST.
    """

    columns = ("uri",)
    max_concurrency = 4

    def before_action(self):
        """Open this worker's connection."""
        endpoint = os.environ.get("ETLKIT_VISION_ENDPOINT", ENDPOINT)
        key = os.environ.get("ETLKIT_VISION_API_KEY")
        if key is None and endpoint == ENDPOINT:
            raise ConfigError("set ETLKIT_VISION_API_KEY to call Cloud Vision, or run with --local")
        headers = {} if key is None else {"X-Goog-Api-Key": key}
        self.vision = HttpClient(endpoint, service="vision", headers=headers)

    def transform_row(self, row):
        """Ask about one photo."""
        answer = self.vision.post_json(
            "/v1/images:annotate",
            {
                "requests": [
                    {
                        "image": {"source": {"imageUri": row["uri"]}},
                        "features": [{"type": "OBJECT_LOCALIZATION", "maxResults": MAX_RESULTS}],
                    }
                ]
            },
        )
        error = answer["responses"][0].get("error")
        if error is not None:
            raise ImageError(error.get("message", "no reason given"), code=error.get("code"))
        row["response"] = answer
        return row

    def after_action(self):
        """Close the connection, also when `before_action` never got so far."""
        if hasattr(self, "vision"):
            self.vision.close()
