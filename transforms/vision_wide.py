"""Ask Cloud Vision for the best labels of each photo and put them into columns, side by side."""

from etlkit.vision import Feature, VisionEtl, Wide


class Etl(VisionEtl):
    """Gives `uri` and `name_1`, `score_1` to `name_3`, `score_3`; NULL if there are fewer labels."""

    client = "grpc"
    features = (Feature("LABEL_DETECTION", max_results=3),)
    shape = Wide(k=3)
