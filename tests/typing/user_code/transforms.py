"""Transforms as users with a strict type checker write them."""

from collections.abc import Iterator, Sequence

from etlkit import AsyncHttpClient, EtlBase, Row
from etlkit.calls.http import HttpClient
from etlkit.vision import Feature, VisionEtl


class Greet(EtlBase):
    """A row, or None for a row that is skipped."""

    max_concurrency = 4
    columns = ("name",)
    output_schema = {"name": "STRING NOT NULL", "greeting": "STRING"}

    def transform_row(self, row: Row) -> Row | None:
        if row["name"] is None:
            return None
        return {**row, "greeting": f"hello {row['name']}"}


class Words(EtlBase):
    """Several rows for one."""

    def transform_row(self, row: Row) -> Iterator[Row]:
        for word in row["text"].split():
            yield {"word": word}


class Lookup(EtlBase):
    """One call for many rows; a row that failed has its exception."""

    batch_size = 50

    def before_action(self) -> None:
        self.api = HttpClient("https://api.example", service="customers")

    def transform_batch(self, rows: list[Row]) -> Sequence[Row | Exception | None]:
        found = self.api.post_json("/v1/lookup", [row["id"] for row in rows])
        return [row | answer for row, answer in zip(rows, found, strict=True)]

    def after_action(self) -> None:
        self.api.close()


class AsyncLookup(EtlBase):
    """All hooks may be async."""

    max_concurrency = 1_000

    async def before_action(self) -> None:
        self.api = AsyncHttpClient("https://api.example", service="customers")

    async def transform_row(self, row: Row) -> Row | None:
        row["city"] = await self.api.get_json("/v1/city", params={"id": row["id"]})
        return row

    async def after_action(self) -> None:
        await self.api.close()


class AsyncBatches(EtlBase):
    """Batches may be async, too."""

    async def transform_batch(self, rows: list[Row]) -> list[Row | Exception]:
        return list(rows)


class Objects(VisionEtl):
    """A ready transform with its attributes."""

    client = "grpc"
    features = (Feature("OBJECT_LOCALIZATION", max_results=10), "LABEL_DETECTION")


class OwnBase(EtlBase, abstract=True):
    """A base of one's own."""

    table: str


class OfOwnBase(OwnBase):
    """And a transform of it."""

    def transform_row(self, row: Row) -> Row:
        return {**row, "table": self.table}
