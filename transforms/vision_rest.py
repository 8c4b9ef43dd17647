"""Ask Cloud Vision over REST which objects are on each photo."""

from etlkit.vision import Feature, VisionEtl


class Etl(VisionEtl):
    """Adds `response`: Vision's answer about the objects on the photo `uri`, as JSON.

    Environment:
        ETLKIT_VISION_API_KEY: Key for the real API; if it is not set, Google's default credentials.
        ETLKIT_VISION_ENDPOINT: `http://host:port` of another server with Vision's REST API.
    """

    client = "rest"
    features = (Feature("OBJECT_LOCALIZATION", max_results=10),)
