"""What a type checker must refuse: each line has an error, and says which."""

from etlkit import BigQuerySink, BigQuerySource, EtlBase, Row, Task, TransferJob, run_job
from etlkit.vision import VisionEtl
from tests.typing.user_code.transforms import Greet

SOURCE = BigQuerySource("SELECT 1 AS n")


class Text(EtlBase):
    """A row is not a text."""

    def transform_row(self, row: Row) -> str:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return str(row)


class Rows(EtlBase):
    """`transform_row` gets one row."""

    def transform_row(self, row: list[Row]) -> Row:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return row[0]


class Many(EtlBase):
    """A number is not a text."""

    max_concurrency = "4"  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]

    def transform_row(self, row: Row) -> Row:
        return row


class Client(VisionEtl):
    """There is no such client."""

    client = "soap"  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]


sink = BigQuerySink("demo.t", mode="upsert")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
misspelled = BigQuerySink("demo.t", merge_key=("n",))  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
no_class = TransferJob(source=SOURCE, transform=Greet(), sink=sink)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
no_source = TransferJob(source="SELECT 1", transform=Greet, sink=sink)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
policy = TransferJob(source=SOURCE, transform=Greet, sink=sink, on_row_error="ignore")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
run_job(policy, limit="10")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
after = Task("a", Greet, after=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
rows: list[Row] = run_job(policy)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
