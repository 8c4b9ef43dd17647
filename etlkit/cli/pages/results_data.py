"""The data of a page of results, as the page's script `results.js` reads it."""

from __future__ import annotations

from typing import Any

from etlkit.cli.pages.results_answers import Answer, Picture, Pictures, in_fractions
from etlkit.cli.pages.thumbnails import Thumbnail, Thumbnails


def picture_data(pictures: Pictures, thumbnails: Thumbnails | None) -> dict[str, Any]:
    """Pictures, models and labels; texts that repeat are there once.

    Returns:
        `models`, `labels` and `reasons`, lists of texts; `side`, the longer side of a small picture
        in pixels; `pictures`: for each one `a` its address, `g` agreement and `p` numbers of agreeing
        and of all pairs (null = not compared), `i` its place among the images or `r` the number of
        the reason why there is none, `w` and `h` its size in pixels, and `n` its answers: model,
        label, score, box.
    """
    labels: dict[str, int] = {}
    reasons: dict[str, int] = {}
    models = {name: number for number, name in enumerate(pictures.models)}
    num_images = 0
    items = []
    for picture in pictures.pictures:
        item: dict[str, Any] = {"a": picture.address, "g": picture.agreement}
        item["p"] = [sum(picture.pairs.values()), len(picture.pairs)]
        thumbnail = None if thumbnails is None else thumbnails.by_address[picture.address]
        if isinstance(thumbnail, Thumbnail):
            item |= {"i": num_images, "w": thumbnail.width, "h": thumbnail.height}
            num_images += 1
        elif thumbnail is not None:
            item["r"] = reasons.setdefault(thumbnail.reason, len(reasons))
        item["n"] = _answers(picture, models, labels, thumbnail)
        items.append(item)
    return {
        "models": list(models),
        "labels": list(labels),
        "reasons": list(reasons),
        "side": 0 if thumbnails is None else thumbnails.side,
        "pictures": items,
    }


def _answers(
    picture: Picture, models: dict[str, int], labels: dict[str, int], thumbnail: Any
) -> list[list[Any]]:
    found = []
    for model, answers in picture.answers.items():
        for answer in answers:
            label = labels.setdefault(answer.label, len(labels))
            score = None if answer.score is None else round(answer.score, 4)
            found.append([models[model], label, score, _box(answer, thumbnail)])
    return found


def _box(answer: Answer, thumbnail: Any) -> list[float] | None:
    if answer.box is None or not isinstance(thumbnail, Thumbnail):
        return None
    box = in_fractions(answer.box, thumbnail.width, thumbnail.height)
    return None if box is None else [round(number, 4) for number in box]


def image_blocks(
    pictures: Pictures | None, thumbnails: Thumbnails | None, size: int
) -> list[list[str]]:
    """The `data:` URIs of the small pictures in the order of `i`, in blocks of `size`."""
    if pictures is None or thumbnails is None:
        return []
    found = (thumbnails.by_address[picture.address] for picture in pictures.pictures)
    uris = [each.uri for each in found if isinstance(each, Thumbnail)]
    return [uris[start : start + size] for start in range(0, len(uris), size)]
