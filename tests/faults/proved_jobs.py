"""Jobs that `test_prove.py` proves: a good one, and others with a planted fault."""

import http.client
import itertools
import os
import random
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import etlkit.engine.journal.journal
from etlkit import BigQuerySink, BigQuerySource, EtlBase, RowError, TransferJob
from etlkit.bigquery.sql import staging as staging_sql
from etlkit.calls.async_http import AsyncHttpClient
from etlkit.calls.http import HttpClient

SOURCE = BigQuerySource("SELECT n FROM UNNEST(GENERATE_ARRAY(0, 59)) AS n")


ROWS_OF = {name: getattr(staging_sql, name) for name in ("staged_rows", "unrepeated_rows")}


def double(request):
    """The fake of the API."""
    return {"double": int(request.params["n"]) * 2}


def outcome(row):
    """Skips, fans out, fails."""
    n = row["n"]
    if n % 10 == 0:
        return None
    if n % 10 == 1:
        return [dict(row, part=part) for part in range(3)]
    if n % 20 == 7:
        raise RowError(f"number {n} is bad")
    return dict(row, part=0)


class Doubles(EtlBase):
    max_concurrency = 1

    def before_action(self):
        self.api = HttpClient("https://api.example", service="doubles")

    def transform_row(self, row):
        answer = self.api.get_json("/v1/double", params={"n": row["n"]})
        return outcome(row | answer)

    def after_action(self):
        self.api.close()


class Good(EtlBase):
    max_concurrency = 8

    async def before_action(self):
        self.api = AsyncHttpClient("https://api.example", service="doubles")

    async def transform_row(self, row):
        return outcome(row | await self.api.get_json("/v1/double", params={"n": row["n"]}))

    async def after_action(self):
        await self.api.close()


def job_of(etl, mode="append", **options):
    """A job with the numbers as its source."""
    sink = BigQuerySink("proved.target", mode=mode)
    return TransferJob(source=SOURCE, transform=etl, sink=sink, **options)


good = job_of(Good, on_row_error="reject", max_rejected=None, rate_limit="9/s")


class NoCalls(EtlBase):
    def transform_row(self, row):
        return {**row, "square": row["n"] ** 2}


direct = job_of(NoCalls, "append_direct")


class Careless(EtlBase):
    """Another value in each run, one that depends on the rows before, and a call past etlkit."""

    numbers = itertools.count()

    def transform_row(self, row):
        with_host = http.client.HTTPConnection(os.environ["PAST_ETLKIT"])
        with_host.connect()
        with_host.close()
        return {**row, "token": random.random(), "place": next(self.numbers)}  # noqa: S311


careless = job_of(Careless)


class CallsPast(EtlBase):
    """A call of a real service past etlkit: it must not be made."""

    def transform_row(self, row):
        http.client.HTTPConnection("paid.example").request("GET", f"/{row['n']}")
        return row


calls_past = job_of(CallsPast)


def is_proving():
    """Whether this is a process that `etlkit prove` has started: others keep etlkit as it is."""
    return Path(sys.argv[0]).name == "prove_process.py"


def loses_rows():
    """As if the engine published only what the last attempt has staged."""
    for name, rows_of in ROWS_OF.items() if is_proving() else ():
        setattr(staging_sql, name, partial(of_last_attempt, rows_of))
    return NoCalls()


def of_last_attempt(rows_of, staged, columns):
    return rows_of(replace(staged, tables=staged.tables[-1:]), columns)


loses = job_of(loses_rows)


class PaysTwice(Doubles):
    """As if the engine kept no answers."""

    def before_action(self):
        super().before_action()
        if not is_proving():
            return
        etlkit.engine.journal.journal.Journal.keep = lambda *_: None


pays_twice = job_of(PaysTwice, on_row_error="reject", max_rejected=None)
