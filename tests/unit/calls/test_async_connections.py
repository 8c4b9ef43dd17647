"""`AsyncHttpPool`: what a connection may be used for again, and what an answer is."""

import asyncio
import socket
from contextlib import asynccontextmanager, suppress

import pytest

from etlkit import ApiError, AsyncHttpClient, RetryableError
from etlkit.calls.async_connections import AsyncHttpPool
from tests.run_of_calls import run_of_calls

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@asynccontextmanager
async def serving(*answers):
    """A server that sends these bytes, one for each request; None = it hangs up.

    Yields:
        Its address, and a list of the connections' request lines.
    """
    left, connections, writers = list(answers), [], []

    async def serve(reader, writer):
        asked = []
        writers.append(writer)
        connections.append(asked)
        while head := await head_of(reader):
            asked.append(head.split(b"\r\n")[0].decode())
            answer = left.pop(0)
            if answer is None:
                break
            writer.write(answer)
            if b"Connection: close" in answer or b"Content-Length" not in answer:
                break
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}", connections
        for writer in writers:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


async def head_of(reader):
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


async def asked(url, number, **options):
    """That many GETs, one after the other; gives status and body of each, or the code of its error."""
    pool, found = AsyncHttpPool(url, service="geo", max_idle=4), []
    for _ in range(number):
        method = options.get("method", "GET")
        try:
            status, _, body = await pool.send(
                method, "/a", {}, timeout_s=5, max_bytes=options.get("max_bytes")
            )
            found.append((status, body))
        except RetryableError as error:
            found.append(error.code)
    pool.close()
    return found


@pytest.mark.parametrize(
    ("answers", "found", "num_connections"),
    [
        ([OK, OK], [(200, b"{}"), (200, b"{}")], 1),
        ([b"HTTP/1.1 100 Continue\r\n\r\n" + OK, OK], [(200, b"{}"), (200, b"{}")], 1),
        ([OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), OK], [(200, b"{}")] * 2, 2),
        ([b"HTTP/1.1 200 OK\r\n\r\nto the end", OK], [(200, b"to the end"), (200, b"{}")], 2),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"],
         [(200, b"ab")], 1),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"], ["truncated"], 1),
        ([b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 9\r\n\r\n{}"], ["truncated"], 1),
        ([None, OK], ["reset", (200, b"{}")], 2),
        ([b"SSH-2.0-server\r\n", OK], ["reset", (200, b"{}")], 2),
        ([b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", OK],
         [(204, b""), (200, b"{}")], 1),
        # What nobody asked for must not become the answer to the next request.
        ([OK + b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", OK], [(200, b"{}")] * 2, 2),
    ],
    ids=["kept", "100", "close", "to the end", "chunks", "cut chunks", "cut", "hung up", "no HTTP",
         "204", "unasked"],
)  # fmt: skip
def test_an_answer_and_whether_its_connection_is_used_again(answers, found, num_connections):
    """An answer is whole, or an error; a connection is used again only after a whole one."""

    async def main():
        async with serving(*answers) as (url, connections):
            assert await asked(url, len(found)) == found
            assert len(connections) == num_connections

    asyncio.run(main())


def test_an_answer_to_head_has_no_body_whatever_its_length_says():
    """Waiting for one would take the whole time of the attempt."""

    async def main():
        async with serving(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", OK) as (url, _):
            assert await asked(url, 1, method="HEAD") == [(200, b"")]

    asyncio.run(main())


def test_no_more_than_max_bytes_is_read():
    """The connection ends then, because the rest is still to come."""
    large = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1_000_000

    async def main():
        async with serving(large) as (url, _):
            [(status, body)] = await asked(url, 1, max_bytes=1000)
            assert (status, len(body)) == (200, 1001)

    asyncio.run(main())


def test_a_cancelled_call_leaves_no_connection_behind():
    """Its answer would be taken for that of the next call."""

    async def main():
        began, may_answer = asyncio.Event(), asyncio.Event()

        async def serve(reader, writer):
            await head_of(reader)
            began.set()
            await may_answer.wait()
            writer.write(OK.replace(b"{}", b"no"))
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            async with AsyncHttpClient(url, service="geo") as client:
                call = asyncio.ensure_future(client.get_bytes("/a", max_bytes=9))
                await began.wait()
                call.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await call
                began.clear()
                may_answer.set()
                assert await client.get_bytes("/a", max_bytes=9) == b"no"
                assert began.is_set()

    with run_of_calls():
        asyncio.run(main())


def test_what_no_address_may_have_is_quoted():
    """As urllib3 does for `HttpClient`."""

    async def main():
        async with serving(OK) as (url, connections):
            async with AsyncHttpClient(url, service="geo") as client:
                assert await client.get_json("/犬 <a>?q=%20[1]") == {}
            assert connections == [["GET /%E7%8A%AC%20%3Ca%3E?q=%20%5B1%5D HTTP/1.1"]]

    with run_of_calls():
        asyncio.run(main())


def test_a_host_with_several_addresses_is_reached_at_one_that_answers(monkeypatch):
    """Tasks that begin at the same time share one look-up."""
    looked_up = []

    def resolve(host, port, **_):
        looked_up.append(host)
        return [(0, 0, 0, "", ("127.0.0.9", port)), (0, 0, 0, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)

    async def main():
        async with serving(*[OK] * 5) as (url, _):
            port = url.rpartition(":")[2]
            async with AsyncHttpClient(f"http://geo.example:{port}", service="geo") as client:
                assert await asyncio.gather(*(client.get_json("/a") for _ in range(5))) == [{}] * 5

    with run_of_calls():
        asyncio.run(main())
    assert looked_up == ["geo.example"]


def test_an_error_names_the_service_and_hides_the_keys():
    """As with `HttpClient`."""
    refused = b'{"error": {"message": "no key made-up-key-4711"}}'
    answer = b"HTTP/1.1 401 No\r\nContent-Length: %d\r\n\r\n%s" % (len(refused), refused)

    async def main():
        async with serving(answer) as (url, _):
            headers = {"X-Key": "made-up-key-4711"}
            async with AsyncHttpClient(url, service="geo", headers=headers) as client:
                with pytest.raises(
                    ApiError, match=r"geo refused /a with 401: no key \S+$"
                ) as caught:
                    await client.get_json("/a")
                assert "made-up-key" not in str(caught.value)

    with run_of_calls():
        asyncio.run(main())
