"""A stand-in for a paid API: `python paid_api.py [N]`. It answers, and keeps the bill.

A process of its own, so that it survives the clients that are killed. It prints its port, and ends when
its standard input is closed. With N, the first call for every Nth key is answered with 503, unpaid.

    POST /call    a row's key and the caller's number as the body -> a value; 2 to 5 ms
    GET  /hold/N  answer no more than N calls until /hold/0
    GET  /calls   the number of calls so far
    GET  /keys/N  the number of different keys since call N
    GET  /refused the number of calls that were answered with 503
    GET  /log     every call: [key, caller, seconds on the machine's monotonic clock]
"""

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_SHORTEST_S = 0.002
_STEP_S = 0.001
_STEPS = 4

CALLS: list[tuple[int, int, float]] = []
REFUSED: set[int] = set()
GO = threading.Event()
GO.set()
HELD_AFTER: list[int] = [0]
REFUSE_EVERY = int(sys.argv[1]) if len(sys.argv) > 1 else 0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        key, caller = map(int, self.rfile.read(int(self.headers["Content-Length"])).split())
        if REFUSE_EVERY and key % REFUSE_EVERY == 0 and key not in REFUSED:
            REFUSED.add(key)
            self._answer("busy", status="503 Service Unavailable")
            return
        CALLS.append((key, caller, time.monotonic()))  # a call counts from its arrival
        if len(CALLS) > HELD_AFTER[0]:
            GO.wait()
        time.sleep(_SHORTEST_S + key % _STEPS * _STEP_S)
        self._answer(str(key * 2))

    def do_GET(self):
        _, what, *since = self.path.split("/")
        if what == "hold":
            HELD_AFTER[0] = int(since[0])
            (GO.clear if HELD_AFTER[0] else GO.set)()
            self._answer("null")
        elif what == "keys":
            self._answer(str(len({key for key, *_ in CALLS[int(since[0]) :]})))
        elif what == "refused":
            self._answer(str(len(REFUSED)))
        else:
            self._answer(json.dumps(CALLS) if what == "log" else str(len(CALLS)))

    def _answer(self, text, status="200 OK"):
        body = text.encode()
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        self.wfile.write(head + body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # with 5, the kernel drops a connection now and then, for a second

    def handle_error(self, *_):
        """Killed clients reset their connections: that is what this is for."""


def main():
    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
