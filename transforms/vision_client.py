"""Ask Cloud Vision what each photo shows, through Google's client library."""

from etlkit.vision import Feature, VisionEtl


class Etl(VisionEtl):
    """Adds `response`: Vision's labels for the photo `uri`, as JSON.

    Environment:
        ETLKIT_VISION_API_KEY: Key for the real API; if it is not set, Google's default credentials.
        ETLKIT_VISION_GRPC_ENDPOINT: `host:port` of another server with Vision's gRPC API.
    """

    client = "grpc"
    features = (Feature("LABEL_DETECTION", max_results=10),)
