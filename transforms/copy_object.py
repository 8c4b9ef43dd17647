"""Copy objects of a bucket to other addresses, e.g. to a folder that a person looks through."""

from etlkit import EtlBase
from etlkit.files import copy_object


class Etl(EtlBase):
    """Copies the object `uri` to `copy_uri`; both are `gs://bucket/name`. The row stays as it is.

    Copying again gives the same object, so a row that is repeated after a crash does no harm.
    """

    max_concurrency = 8
    columns = ("uri", "copy_uri")

    def transform_row(self, row):
        """Copy one object."""
        copy_object(row["uri"], row["copy_uri"])
        return row
