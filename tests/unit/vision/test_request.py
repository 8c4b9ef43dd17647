import pytest

from etlkit import ConfigError
from etlkit.vision import Feature, ImageRequest
from etlkit.vision.request import FEATURES, as_features, check_context

LABELS = (Feature("LABEL_DETECTION"),)


def test_a_feature_in_json_has_only_the_given_values():
    """Values that were not given are left to the API's defaults."""
    assert Feature("CROP_HINTS").to_json() == {"type": "CROP_HINTS"}
    assert Feature("TEXT_DETECTION", 3, "builtin/weekly").to_json() == {
        "type": "TEXT_DETECTION",
        "maxResults": 3,
        "model": "builtin/weekly",
    }


def test_product_search_is_refused_with_the_reason():
    """It needs a product set, which etlkit cannot make."""
    with pytest.raises(ConfigError, match="your own product set"):
        Feature("PRODUCT_SEARCH")


@pytest.mark.parametrize("name", ["LABELS", "label_detection", "", "TYPE_UNSPECIFIED"])
def test_an_unknown_feature_is_refused_with_the_known_ones(name):
    """The message lists all eleven."""
    with pytest.raises(ConfigError) as caught:
        Feature(name)
    assert all(known in str(caught.value) for known in FEATURES)


@pytest.mark.parametrize("most", [0, -1, 2.5, True, "3"])
def test_max_results_is_a_number_of_results(most):
    """Vision would refuse every image with another value."""
    with pytest.raises(ConfigError, match="1 or more"):
        Feature("LABEL_DETECTION", max_results=most)


def test_names_stand_for_features():
    """A list that is empty or has a feature twice is refused."""
    assert as_features(["LABEL_DETECTION"]) == LABELS
    for wrong in ([], ["LABEL_DETECTION", Feature("LABEL_DETECTION", 2)], "LABEL_DETECTION"):
        with pytest.raises(ConfigError):
            as_features(wrong)


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ({"languageHint": ["ja"]}, "has no 'languageHint'; it has latLongRect, languageHints"),
        ({"languageHints": "ja"}, "languageHints is a str; it must be a list"),
        (
            {"cropHintsParams": {"aspectRatios": ["1"]}},
            r"aspectRatios\[0\] is a str; it must be a float",
        ),
        ({"webDetectionParams": {"includeGeoResults": 1}}, "is a int; it must be a bool"),
        ({"productSearchParams": {}}, "has no 'productSearchParams'"),
        ({"latLongRect": {"minLatLng": {"latitude": float("nan")}}}, "image_context"),
        (["ja"], "is a list; it must be a dict"),
    ],
)
def test_a_misspelt_context_is_found_before_any_call(context, message):
    """Otherwise Vision would answer 400 to every call, as if every image were bad."""
    with pytest.raises(ConfigError, match=message):
        check_context(context)


def test_a_right_context_passes():
    """It is returned unchanged, and None means no context."""
    context = {"languageHints": ["ja"], "cropHintsParams": {"aspectRatios": [1, 1.5]}}
    assert check_context(context) is context
    assert check_context(None) is None


def test_the_image_file_is_not_in_the_repr():
    """Error messages must not contain megabytes."""
    assert "secret" not in repr(ImageRequest(content=b"secret", features=LABELS))
