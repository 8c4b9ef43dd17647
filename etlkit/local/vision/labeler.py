"""Labels an image: class probabilities are added up along the WordNet tree.

Five breeds of cat at 0.2 each say little alone, but together they say "cat".
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from etlkit.local.model_folder import model_folder

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Vision returns labels from this score on.
MIN_SCORE = 0.5

# A word for more classes than this is vague ("animal" has 398). It is left out if a narrower word
# has the same score.
_VAGUE_NUM_CLASSES = 60
_SAME_SCORE = 0.005


@dataclass(frozen=True)
class Label:
    """One word for the whole image.

    Attributes:
        description: The WordNet name in its own spelling, e.g. `cat`.
        mid: `/wordnet/n…`, the WordNet 3.0 id. Vision has ids of the Knowledge Graph, which the
            models do not know. Its documentation tells clients to treat ids as opaque.
        score: 0.0-1.0.
    """

    description: str
    mid: str
    score: float


class Labeler:
    """Turns class probabilities into labels. Many threads may use it at once."""

    def __init__(self) -> None:
        tree = json.loads((model_folder() / "hierarchy.json").read_text("utf-8"))
        self._ids = sorted(tree["names"])
        self._names = [tree["names"][word_id] for word_id in self._ids]
        positions = {word_id: i for i, word_id in enumerate(self._ids)}
        pairs = [
            (class_index, positions[word_id])
            for class_index, word_ids in enumerate(tree["classes"])
            for word_id in word_ids
        ]
        self._pair_classes, self._pair_words = np.array(pairs).T
        self._covers = np.zeros((len(tree["classes"]), len(self._ids)), np.bool_)
        self._covers[self._pair_classes, self._pair_words] = True
        self._num_classes = self._covers.sum(axis=0)

    def label(
        self, probabilities: NDArray[np.float32], *, min_score: float = MIN_SCORE
    ) -> list[Label]:
        """The labels of an image, highest score first.

        Args:
            probabilities: Shape (1000,), as `Classifier.probabilities` gives them.
            min_score: 0.0-1.0.

        Returns:
            [] = no word reaches the score.
        """
        # Not a matrix product: BLAS would start threads of its own, which take the cores from the
        # models in other threads (14 instead of 9 ms per image on 2 cores).
        weights = probabilities[self._pair_classes]
        sums = np.bincount(self._pair_words, weights, minlength=len(self._ids))
        scores = np.minimum(sums, 1.0)
        candidates = [int(i) for i in np.flatnonzero(scores >= min_score)]
        candidates.sort(key=lambda i: (-round(float(scores[i]), 2), self._num_classes[i]))
        kept: list[int] = []
        for i in candidates:
            if not any(self._is_redundant(i, narrower, scores) for narrower in kept):
                kept.append(i)
        kept.sort(key=lambda i: -scores[i])
        return [Label(self._names[i], f"/wordnet/n{self._ids[i]}", float(scores[i])) for i in kept]

    def _is_redundant(self, wide: int, narrow: int, scores: NDArray[np.float64]) -> bool:
        return bool(
            self._num_classes[wide] > _VAGUE_NUM_CLASSES
            and abs(scores[wide] - scores[narrow]) < _SAME_SCORE
            and not (self._covers[:, narrow] & ~self._covers[:, wide]).any()
        )
