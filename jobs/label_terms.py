"""Load wider words for the classifier's labels, from WordNet: a "tabby" is also a "cat"."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import etlkit
from etlkit import BigQuerySink, BigQuerySource, EtlBase, Row, TransferJob

WORDNET = Path(etlkit.__file__).parent / "local" / "models" / "hierarchy.json"
MAX_CLASSES = 125
"""A word for more classes than this, one in eight, says too little, e.g. "device" or "mammal"."""


class Etl(EtlBase):
    """One class of the classifier in, one row per wider word out."""

    output_schema = {"label": "STRING", "term": "STRING"}  # noqa: RUF012 - as users write it

    def before_action(self) -> None:
        """Read the tree of words."""
        tree = json.loads(WORDNET.read_text("utf-8"))
        num_classes = Counter(word for words in tree["classes"] for word in words)
        self.wider_words = [
            {tree["names"][word].lower() for word in words if num_classes[word] <= MAX_CLASSES}
            for words in tree["classes"]
        ]

    def transform_row(self, row: Row) -> Iterator[Row]:
        """Yield the words of one class."""
        label = row["label"].lower()
        for term in sorted(self.wider_words[row["class"]] - {label}):
            yield {"label": label, "term": term}


job = TransferJob(
    # Label 1 is the background, which is no class of WordNet.
    source=BigQuerySource("""
        SELECT int64_field_0 - 2 AS class, string_field_1 AS label
        FROM bqml_vision.label
        WHERE int64_field_0 >= 2
    """),
    transform=Etl,
    sink=BigQuerySink("bqml_vision.label_terms", mode="replace"),
)
