from etlkit.local.vision.detector import MIDS, Detector


def test_every_name_of_the_model_has_an_id():
    """The detector can answer whatever the model finds."""
    assert set(Detector()._names) == MIDS.keys()
