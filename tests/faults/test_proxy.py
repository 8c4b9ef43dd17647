import socket
import threading

import pytest

from etlkit.testing.fault_proxy import Fault, Proxy


@pytest.fixture
def shouter():
    """A server that answers each line with itself in capitals."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def answer(connection):
        with connection, connection.makefile("rwb") as lines:
            try:
                for line in lines:
                    heard.append(line)
                    lines.write(line.upper())
                    lines.flush()
            except OSError:
                return

    heard: list[bytes] = []
    threading.Thread(target=serve, daemon=True).start()
    yield f"127.0.0.1:{listener.getsockname()[1]}", heard
    listener.close()


def ask(address, line):
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(line)
        answer = b""
        try:
            while not answer.endswith(b"\n") and (some := connection.recv(100)):
                answer += some
        except ConnectionResetError:
            return answer, "reset"
        return answer, "ok" if answer.endswith(b"\n") else "closed"


def test_an_answer_is_lost_after_the_server_has_heard(shouter):
    """`answer`: the request goes through, nothing comes back; the next one is served."""
    address, heard = shouter
    fault = Fault(b"marker")
    with Proxy(address, [fault]) as proxy:
        assert ask(proxy.address, b"plain\n") == (b"PLAIN\n", "ok")
        assert ask(proxy.address, b"a marker\n")[0] == b""
        assert ask(proxy.address, b"a marker\n") == (b"A MARKER\n", "ok")
    assert heard == [b"plain\n", b"a marker\n", b"a marker\n"]
    assert fault.struck == 1


def test_a_request_is_cut_before_the_server_hears_it(shouter):
    """`request`: the server never sees it; `skip` lets earlier ones pass."""
    address, heard = shouter
    fault = Fault(b"marker", at="request", skip=1)
    with Proxy(address, [fault]) as proxy:
        assert ask(proxy.address, b"marker 1\n")[1] == "ok"
        assert ask(proxy.address, b"marker 2\n")[0] == b""
    assert heard == [b"marker 1\n"]
    assert fault.struck == 1


def test_a_held_answer_comes_when_it_is_released(shouter):
    """`hold`: the server has heard, the client waits."""
    address, heard = shouter
    fault = Fault(b"marker", do="hold")
    answers = []
    with Proxy(address, [fault]) as proxy:
        asking = threading.Thread(target=lambda: answers.append(ask(proxy.address, b"marker\n")))
        asking.start()
        assert fault.striking.wait(20)
        assert (heard, answers) == ([b"marker\n"], [])
        fault.released.set()
        asking.join(20)
    assert answers == [(b"MARKER\n", "ok")]


def test_part_of_an_answer_may_pass(shouter):
    """`answer_bytes`: the cut comes in the middle, on the stream of the request."""
    address, _ = shouter
    with Proxy(address, [Fault(b"marker", answer_bytes=1000)]) as proxy:
        assert ask(proxy.address, b"marker\n")[1] == "ok"
        assert ask(proxy.address, b"marker" + b"x" * 2000 + b"\n")[1] != "ok"
