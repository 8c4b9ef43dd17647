"""A stand-in for a paid API: `python paid_api.py`. It answers, and keeps the bill.

A process of its own, so that it survives the clients that are killed. It prints its port, and ends when
its standard input is closed.

    POST /call   a row's key as the body -> a value; 2 to 5 ms
    GET  /calls  the number of calls so far
    GET  /log    every call: [key, seconds on the machine's monotonic clock]
"""

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_SHORTEST_S = 0.002
_STEP_S = 0.001
_STEPS = 4

CALLS: list[tuple[int, float]] = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        key = int(self.rfile.read(int(self.headers["Content-Length"])))
        CALLS.append((key, time.monotonic()))  # atomic; a call counts from its arrival
        time.sleep(_SHORTEST_S + key % _STEPS * _STEP_S)
        self._answer(str(key * 2))

    def do_GET(self):
        self._answer(json.dumps(CALLS) if self.path == "/log" else str(len(CALLS)))

    def _answer(self, text):
        body = text.encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        self.wfile.write(head + body)

    def log_message(self, *_):
        pass


def main():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
