"""An HTTP server that answers 204 to every write and counts its lines, in a process of its own.

It stands where InfluxDB would, so that only the bridge's or the gateway's work is measured.
"""

import gzip
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from multiprocessing.connection import Connection as Pipe
from multiprocessing.sharedctypes import Synchronized
from types import TracebackType
from typing import Self


def _serve(pipe: Pipe, lines: "Synchronized[int]") -> None:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            with lines.get_lock():
                lines.value += len(body.splitlines())
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        pipe.send(server.server_address[1])
        server.serve_forever()


class Sink:
    """`with Sink() as sink:` serves at `sink.url`."""

    def __enter__(self) -> Self:
        context = get_context("fork")
        ours, theirs = context.Pipe()
        self._lines = context.Value("q", 0)
        self._process = context.Process(target=_serve, args=(theirs, self._lines), daemon=True)
        self._process.start()
        if not ours.poll(30):
            raise TimeoutError("the sink did not start")
        self.url = f"http://127.0.0.1:{ours.recv()}"
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.join()

    def lines(self) -> int:
        """How many points were written so far."""
        return int(self._lines.value)

    def await_lines(self, wanted: int, timeout_s: float = 300) -> None:
        """Wait until so many points were written."""
        deadline_s = time.monotonic() + timeout_s
        while self.lines() < wanted:
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"{self.lines()} of {wanted} points were written")
            time.sleep(0.005)
