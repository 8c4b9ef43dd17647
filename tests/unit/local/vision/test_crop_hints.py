import pytest

from etlkit.local.vision.crop_hints import crop_hints
from etlkit.local.vision.detector import DetectedObject


def thing(xmin, ymin, xmax, ymax, score=0.75):
    return DetectedObject("Cat", "/m/01yrx", score, xmin, ymin, xmax, ymax)


def box(hint):
    return hint.left, hint.top, hint.right, hint.bottom


@pytest.mark.parametrize(
    ("objects", "ratio", "expected", "kept"),
    [
        ([thing(0.4, 0.4, 0.6, 0.6)], 1.0, (50, 0, 149, 99), 1.0),
        ([thing(0.9, 0.0, 1.0, 1.0)], 1.0, (100, 0, 199, 99), 1.0),
        ([thing(0.0, 0.0, 0.1, 1.0)], 1.0, (0, 0, 99, 99), 1.0),
        ([thing(0.0, 0.0, 0.1, 1.0), thing(0.9, 0.0, 1.0, 1.0)], 1.0, (50, 0, 149, 99), 0.5),
        ([thing(0.2, 0.9, 0.8, 1.0)], 4.0, (0, 50, 199, 99), 1.0),
        ([thing(0.0, 0.0, 1.0, 1.0)], 0.001, (100, 0, 100, 99), 0.0005),
        ([thing(-0.2, -0.1, 1.3, 1.2)], 2.0, (0, 0, 199, 99), 1.0),
        ([], 2.0, (0, 0, 199, 99), 1.0),
    ],
    ids=["middle", "right", "left", "both ends", "bottom", "sliver", "beyond", "nothing"],
)
def test_a_crop_keeps_the_objects_and_stays_inside(objects, ratio, expected, kept):
    """The crop is the largest of its shape in 200 x 100 pixels, as near to the objects as possible."""
    (hint,) = crop_hints(objects, (200, 100), [ratio])
    assert box(hint) == expected
    assert hint.importance_fraction == pytest.approx(kept)


def test_the_highest_score_is_the_confidence():
    """The confidence is the highest score of an object."""
    objects = [thing(0.1, 0.1, 0.2, 0.2, 0.6), thing(0.5, 0.5, 0.9, 0.9, 0.8)]
    (hint,) = crop_hints(objects, (100, 100), [])
    assert hint.confidence == 0.8
    assert box(hint) == (10, 10, 89, 89)


def test_an_object_without_area_is_kept():
    """A crop keeps all of a box without area."""
    (hint,) = crop_hints([thing(0.5, 0.5, 0.5, 0.5)], (100, 100), [1.0])
    assert hint.importance_fraction == 1.0
