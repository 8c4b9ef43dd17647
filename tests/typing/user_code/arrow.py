"""A transform of Arrow batches. pyarrow has no types of its own, so its names are unknown here."""
# pyright: basic

import pyarrow as pa

from etlkit import EtlBase


class Columns(EtlBase):
    """Batches in Arrow."""

    def transform_arrow(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return batch
