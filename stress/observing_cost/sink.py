"""Takes traces and counts their spans, as a process of its own: what it costs is not the pipeline's.

Prints its port when it is ready. `GET` answers with the number of spans that were taken.
"""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def sink() -> Iterator[str]:
    """Start one, and have whatever this process traces sent there. Its URL."""
    command = [sys.executable, "-m", __name__]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = f"http://127.0.0.1:{int(process.stdout.readline())}"
        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = url
        try:
            yield url
        finally:
            process.terminate()


def taken(url: str) -> int:
    """How many spans have come."""
    with urllib.request.urlopen(url, timeout=10) as reply:  # noqa: S310 - our own
        return int(reply.read())


def main() -> None:
    """Serve until terminated."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    spans = 0

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            nonlocal spans
            told = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
            spans += sum(len(scope.spans) for resource in told.resource_spans for scope in resource.scope_spans)
            self._answer(b"")

        def do_GET(self) -> None:
            self._answer(str(spans).encode())

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
