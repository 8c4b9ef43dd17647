"""How close calls come to the ideal: `python -m tests.bench.calls`, or `make bench`.

Latency-bound work is at its best when `max_concurrency` calls are in flight from the first row to the
last. Ideal is that and nothing else: rows x latency / calls in flight. Everything in one table ran in
one process, one after the other, against one server; only the ratios mean something.
"""

import argparse
import asyncio
import http.client
import json
import math
import random
import threading
import time
from collections import deque
from urllib.parse import urlsplit

import aiohttp
import requests
import urllib3

from etlkit import AsyncHttpClient, EtlBase, TransferJob
from etlkit.api.run import RunRequest
from etlkit.calls.http import HttpClient
from etlkit.engine.transfer import run_transfer
from etlkit.testing import MemorySource
from etlkit.vision import Feature, RestAnnotator, VisionEtl
from etlkit.vision.endpoint import REST_ENDPOINT, rest_endpoint
from tests.bench.figures import Figure
from tests.bench.latency_server import latency_server
from tests.bench.row_cases import CountingSink

PATH = "/v1/images:annotate"
HEADERS = {"Content-Type": "application/json"}
PACK = 16


def request_for(rows):
    """A Vision request with one image per row."""
    feature = [{"type": "OBJECT_LOCALIZATION", "maxResults": 10}]
    images = [{"source": {"imageUri": row["uri"]}} for row in rows]
    return {"requests": [{"image": image, "features": feature} for image in images]}


class EtlkitPost:
    """`HttpClient`, as a transform uses it."""

    def __init__(self, url):
        self._client = HttpClient(url, service="bench")

    def __call__(self, body):
        return self._client.post_json(PATH, body)


class RequestsPost:
    def __init__(self, url):
        self._session = requests.Session()
        self._url = url + PATH

    def __call__(self, body):
        return self._session.post(self._url, json=body, timeout=60).json()


class Urllib3Post:
    def __init__(self, url):
        parts = urlsplit(url)
        self._pool = urllib3.HTTPConnectionPool(parts.hostname, parts.port, maxsize=1)

    def __call__(self, body):
        data = json.dumps(body).encode()
        answer = self._pool.urlopen("POST", PATH, body=data, headers=HEADERS, retries=False)
        return json.loads(answer.data)


class HttpClientPost:
    """The standard library's, for comparison."""

    def __init__(self, url):
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc)

    def __call__(self, body):
        self._connection.request("POST", PATH, json.dumps(body).encode(), HEADERS)
        return json.loads(self._connection.getresponse().read())


def name_in(answer):
    """What is kept of an answer: what a JSON column costs is measured with the rows."""
    return answer["responses"][0]["localizedObjectAnnotations"][0]["name"]


def packed_etl(url, post, calls_in_flight):
    class Etl(EtlBase):
        max_concurrency = calls_in_flight
        batch_size = PACK

        def before_action(self):
            self.post = post(url)

        def transform_batch(self, rows):
            answers = self.post(request_for(rows))["responses"]
            return [{**row, "response": answer} for row, answer in zip(rows, answers, strict=True)]

    return Etl


def vision_etl(url, calls_in_flight):
    """The shipped transform: packing, a result per image, the answer as a JSON column."""

    class Etl(VisionEtl):
        features = (Feature("OBJECT_LOCALIZATION", max_results=10),)
        max_concurrency = calls_in_flight

        def make_annotator(self):
            return RestAnnotator(rest_endpoint(environ={REST_ENDPOINT: url}))

    return Etl


def single_etl(url, post, calls_in_flight):
    class Etl(EtlBase):
        max_concurrency = calls_in_flight

        def before_action(self):
            self.post = post(url)

        def transform_row(self, row):
            row["response"] = name_in(self.post(request_for([row])))
            return row

    return Etl


def async_etl(url, calls_in_flight):
    class Etl(EtlBase):
        max_concurrency = calls_in_flight

        async def before_action(self):
            self.api = AsyncHttpClient(url, service="bench")

        async def transform_row(self, row):
            row["response"] = name_in(await self.api.post_json(PATH, request_for([row])))
            return row

        async def after_action(self):
            await self.api.close()

    return Etl


class RawConnection(asyncio.Protocol):
    """The least that can read this server's answers."""

    def connection_made(self, transport):
        self.transport, self.received = transport, b""

    def data_received(self, data):
        self.received += data
        head, end, body = self.received.partition(b"\r\n\r\n")
        if not end:
            return
        at = head.find(b"Content-Length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0])
        if len(body) >= length:
            self.received = b""
            self.answer.set_result((int(head[9:12]), b"Retry-After: 1" in head, body))


class RawPost:
    """Requests over asyncio's transports, without a library; gives status, hint and JSON."""

    def __init__(self, url):
        self._parts = urlsplit(url)
        self._idle = []

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        for connection in self._idle:
            connection.transport.close()

    async def __call__(self, body):
        loop = asyncio.get_running_loop()
        if self._idle:
            connection = self._idle.pop()
        else:
            where = self._parts.hostname, self._parts.port
            _, connection = await loop.create_connection(RawConnection, *where)
        data = json.dumps(body).encode()
        connection.answer = loop.create_future()
        head = f"POST {PATH} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(data)}\r\n\r\n"
        connection.transport.write(head.encode() + data)
        status, has_hint, answer = await connection.answer
        self._idle.append(connection)
        return status, has_hint, json.loads(answer) if status == 200 else None


class AiohttpPost:
    def __init__(self, url):
        self._url = url + PATH

    async def __aenter__(self):
        connector = aiohttp.TCPConnector(limit=0)
        self._session = aiohttp.ClientSession(connector=connector)
        return self

    async def __aexit__(self, *_):
        await self._session.close()

    async def __call__(self, body):
        async with self._session.post(self._url, json=body) as answer:
            return answer.status, False, await answer.json()


def by_hand_async(url, post, calls_in_flight, rows):
    """Tasks that take from one queue; a row that has to wait gives its slot away."""
    done = []

    async def main():
        slots, parked, queue = asyncio.Semaphore(calls_in_flight), set(), iter(rows)

        async def one(send, row):
            async with slots:
                status, has_hint, answer = await send(request_for([row]))
            if status == 200:
                done.append({**row, "response": name_in(answer)})
            else:
                parked.add(asyncio.ensure_future(later(send, row, has_hint=has_hint)))

        async def later(send, row, *, has_hint):
            await asyncio.sleep(1.0 if has_hint else random.uniform(0, 0.5))  # noqa: S311 - no secret
            await one(send, row)

        async def worker(send):
            for row in queue:
                await one(send, row)

        async with post(url) as send:
            await asyncio.gather(*[worker(send) for _ in range(calls_in_flight)])
            while parked:
                await parked.pop()

    started = time.perf_counter()
    asyncio.run(main())
    spent = time.perf_counter() - started
    assert len(done) == len(rows)
    return spent


class AnsweredSink(CountingSink):
    """Keeps nothing, so that only the engine is measured, and checks that each row has an answer."""

    def write(self, batch):
        assert not batch.column("response").null_count
        super().write(batch)


def with_engine(etl, rows):
    """Seconds of a whole run, from the source's opening to the commit."""
    sink = AnsweredSink()
    schema = {"uri": "STRING"}
    job = TransferJob(source=MemorySource(rows, schema), transform=etl, sink=sink)
    started = time.perf_counter()
    report = run_transfer(job, RunRequest("bench"))
    spent = time.perf_counter() - started
    assert report.written == len(rows) == sink.rows
    return spent


def by_hand(url, post, calls_in_flight, rows, pack):
    """The loop that people write: threads that take from one queue and put into one list."""
    queue = deque(rows[i : i + pack] for i in range(0, len(rows), pack))
    done = []

    def work():
        send = post(url)
        while True:
            try:
                some = queue.popleft()
            except IndexError:
                return
            answer = send(request_for(some))
            if pack == 1:
                done.append({**some[0], "response": name_in(answer)})
                continue
            answers = answer["responses"]
            done.extend({**row, "response": a} for row, a in zip(some, answers, strict=True))

    threads = [threading.Thread(target=work) for _ in range(calls_in_flight)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spent = time.perf_counter() - started
    assert len(done) == len(rows)
    return spent


def compare(title, *, num_rows, pack, latency_s, calls_in_flight, repeat):
    """Print one table."""
    rows = [{"uri": f"gs://bucket/photos/{i:07}.jpg"} for i in range(num_rows)]
    ideal = math.ceil(num_rows / pack) * latency_s / calls_in_flight
    etl = packed_etl if pack > 1 else single_etl
    print(f"\n{title}: {num_rows:,} images, {latency_s * 1000:.0f} ms a call, ideal {ideal:.2f} s")
    with latency_server(latency_s) as url:
        ways = {
            "etlkit, HttpClient": lambda: with_engine(etl(url, EtlkitPost, calls_in_flight), rows),
            "etlkit, requests": lambda: with_engine(etl(url, RequestsPost, calls_in_flight), rows),
            "etlkit, VisionEtl": lambda: with_engine(vision_etl(url, calls_in_flight), rows),
            "by hand, urllib3": lambda: by_hand(url, Urllib3Post, calls_in_flight, rows, pack),
            "by hand, requests": lambda: by_hand(url, RequestsPost, calls_in_flight, rows, pack),
        }
        if pack == 1:
            del ways["etlkit, VisionEtl"]  # it packs
        ratios = {name: [] for name in ways}
        for _ in range(repeat):
            for name, way in ways.items():
                ratios[name].append(way() / ideal)
    for name, found in ratios.items():
        times = ", ".join(f"{ratio:.3f}" for ratio in found)
        print(f"  {name:<20} {min(found):.3f} x ideal   ({times})")


def against_one_at_a_time(latency_s, calls_in_flight, num_rows, num_sample):
    """One image per call, one call at a time, with requests."""
    rows = [{"uri": f"gs://bucket/photos/{i:07}.jpg"} for i in range(num_rows)]
    with latency_server(latency_s) as url:
        a_row = by_hand(url, RequestsPost, 1, rows[:num_sample], 1) / num_sample
        packed = with_engine(packed_etl(url, EtlkitPost, calls_in_flight), rows)
    print(
        f"\nagainst one image a call, one call at a time, {latency_s * 1000:.0f} ms a call:\n"
        f"  {num_rows:,} images with etlkit {packed:.2f} s; one at a time {a_row * num_rows:,.0f} s "
        f"(scaled from {num_sample} images): {a_row * num_rows / packed:.0f} x"
    )


def cost_of_a_call(num_calls, repeat):
    """Processor time of one thread that calls a server without latency."""
    posts = {
        "etlkit's HttpClient": EtlkitPost,
        "requests": RequestsPost,
        "urllib3's pool": Urllib3Post,
        "http.client": HttpClientPost,
    }
    body = request_for([{"uri": "gs://bucket/photos/0000001.jpg"}])
    print(f"\nprocessor time of a call, the best of {repeat} times {num_calls:,} calls:")
    with latency_server(0) as url:
        for name, make in posts.items():
            post, found = make(url), []
            for _ in range(repeat):
                started = time.thread_time()
                for _ in range(num_calls):
                    post(body)
                found.append(time.thread_time() - started)
            print(f"  {name:<20} {min(found) / num_calls * 1000:.3f} ms")


def measured(key, title, ways, *, calls, ideal, goal, repeat, once=None):
    """The first way against the ideal, beside the others, all in turn; `once` is slow and far off."""
    ratios, cpu_us = {name: [] for name in ways}, {name: [] for name in ways}
    pipeline_us = []
    own, *others = ways
    for number in range(repeat):
        for name, way in ways.items():
            if name != once or not number:
                began, began_here = time.process_time(), time.thread_time()
                ratios[name].append(way() / ideal)
                cpu_us[name].append((time.process_time() - began) / calls * 1e6)
                if name == own:
                    pipeline_us.append((time.thread_time() - began_here) / calls * 1e6)
    beside = {name: round(min(ratios[name]), 3) for name in others}
    runs = tuple(round(ratio, 3) for ratio in ratios[own])
    profile = {
        "there is, at the ideal": ideal / calls * 1e6,
        own: min(cpu_us[own]),
        "of it, the pipeline's thread": min(pipeline_us),
        **{name: min(cpu_us[name]) for name in others},
    }
    return Figure(key, title, min(runs), "x ideal", goal, "lower", beside, runs, profile)


def images(number):
    return [{"uri": f"gs://bucket/photos/{i:07}.jpg"} for i in range(number)]


def figures():
    """The table's rows about calls."""
    found = []
    with latency_server(0.05) as url:
        rows = images(4_000)
        ways = {
            "etlkit": lambda: with_engine(single_etl(url, EtlkitPost, 64), rows),
            "by hand, urllib3": lambda: by_hand(url, Urllib3Post, 64, rows, 1),
        }
        title = "calls of 50 ms, 64 in flight, threads"
        ideal = len(rows) * 0.05 / 64
        found.append(
            measured("calls.64", title, ways, calls=len(rows), ideal=ideal, goal=1.06, repeat=3)
        )
        for in_flight, number, goal in ((256, 10_000, 1.35), (1_000, 20_000, 2.0)):
            found.append(async_figure(url, in_flight, images(number), goal))
    with latency_server(0.02, faults=0.05) as url:
        rows = images(2_000)
        ways = {
            "etlkit": lambda: with_engine(single_etl(url, EtlkitPost, 16), rows),
            "etlkit, async": lambda: with_engine(async_etl(url, 16), rows),
            "by hand, asyncio that parks": lambda: by_hand_async(url, RawPost, 16, rows),
        }
        title = "calls of 20 ms, 16 in flight, 5 % of them answered with 429 or 503"
        ideal = len(rows) * 0.02 / 16
        found.append(
            measured("calls.faults", title, ways, calls=len(rows), ideal=ideal, goal=1.75, repeat=3)
        )
    with latency_server(0.1) as url:
        rows = images(16_000)
        ways = {
            "etlkit, VisionEtl": lambda: with_engine(vision_etl(url, 16), rows),
            "by hand, urllib3": lambda: by_hand(url, Urllib3Post, 16, rows, PACK),
        }
        title = "packed calls of 16 images, 100 ms, 16 in flight"
        calls = len(rows) // PACK
        ideal = calls * 0.1 / 16
        found.append(
            measured("calls.packed", title, ways, calls=calls, ideal=ideal, goal=1.05, repeat=2)
        )
    return found


def async_figure(url, in_flight, rows, goal):
    """Async hooks beside what is written by hand."""
    ways = {
        "etlkit, async": lambda: with_engine(async_etl(url, in_flight), rows),
        "by hand, asyncio": lambda: by_hand_async(url, RawPost, in_flight, rows),
        "by hand, aiohttp": lambda: by_hand_async(url, AiohttpPost, in_flight, rows),
    }
    return measured(
        f"calls.{in_flight}",
        f"calls of 50 ms, {in_flight:,} in flight, async",
        ways,
        calls=len(rows),
        ideal=len(rows) * 0.05 / in_flight,
        goal=goal,
        repeat=2,
        once="by hand, aiohttp",
    )


def main():
    """Parse the command line and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--repeat", type=int, default=3, help="runs of each; the best counts")
    parser.add_argument("--only", choices=["packed", "single", "article", "cost", "figures"])
    options = parser.parse_args()
    if options.only in {None, "packed"}:
        compare(
            "16 images a call, 16 calls in flight",
            num_rows=16_000,
            pack=PACK,
            latency_s=0.1,
            calls_in_flight=16,
            repeat=options.repeat,
        )
    if options.only in {None, "single"}:
        compare(
            "one image a call, 64 calls in flight",
            num_rows=4000,
            pack=1,
            latency_s=0.05,
            calls_in_flight=64,
            repeat=options.repeat,
        )
    if options.only in {None, "article"}:
        against_one_at_a_time(0.1, 16, num_rows=16_000, num_sample=50)
    if options.only in {None, "cost"}:
        cost_of_a_call(1000, options.repeat)
    if options.only in {None, "figures"}:
        for each in figures():
            print(f"{each.title}: {each.value:.3f} {each.unit} {each.runs}, beside {each.beside}")


if __name__ == "__main__":
    main()
