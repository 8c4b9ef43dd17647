"""Ask Cloud Vision, through Google's client library, what each photo shows."""

from etlkit.vision import Feature, VisionEtl


class Etl(VisionEtl):
    """Adds `response`: Vision's labels for the photo `uri`, as JSON.

    Environment:
        ETLKIT_VISION_API_KEY: Key for the real API; without it, Google's default credentials.
        ETLKIT_VISION_GRPC_ENDPOINT: `host:port` of another server that speaks Vision's gRPC.
    """

    client = "grpc"
    features = (Feature("LABEL_DETECTION", max_results=10),)
