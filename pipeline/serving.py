"""`/metrics` of a process, over HTTP, for Prometheus."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import structlog
from prometheus_client import Metric
from prometheus_client.exposition import choose_encoder

from pipeline import signals
from pipeline.errors import ConfigurationError

log = structlog.get_logger(__name__)

#: A header that scrapers send and people's browsers do not: only who sends it keeps what they are told.
SCRAPER = "X-Prometheus-Scrape-Timeout-Seconds"

#: Gives the metrics of now. Told whether whoever asks keeps them.
Look = Callable[[bool], Iterable[Metric]]


class Server:
    """Serves what `look` gives at `/metrics`. `port` 0 takes a free one; `url` tells which.

    Raises ConfigurationError where the address cannot be had.
    """

    def __init__(self, look: Look, *, host: str, port: int) -> None:
        try:
            self._http = _HTTPServer((host, port), _Handler)
        except OSError as fault:
            raise ConfigurationError(
                f"CITE_AGENT_METRICS_PORT: {host}:{port} cannot be listened on ({fault.strerror or fault}); "
                "give each process a port of its own, or 0 for a free one"
            ) from fault
        self._http.look = look
        self._thread = threading.Thread(target=self._http.serve_forever, name="pipeline-metrics", daemon=True)
        self.port = int(self._http.server_address[1])
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self.port}/metrics"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Answer what is being asked, and nothing more."""
        if self._thread.is_alive():
            self._http.shutdown()
            self._thread.join(5)
        self._http.server_close()


class _HTTPServer(ThreadingHTTPServer):
    #: `server_close` waits for those that are being answered, so that what they were told is known.
    daemon_threads = False
    look: Look

    def handle_error(self, request: object, client_address: object) -> None:
        """Whoever asked is gone; it asks again."""
        del request
        signals.scrape_failed()
        log.info("scrape_broken", client=str(client_address), exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    #: Seconds for which a client may say nothing.
    timeout = 5
    server: _HTTPServer

    def do_GET(self) -> None:
        """Answer a scraper."""
        if self.path.partition("?")[0] != "/metrics":
            self.send_error(HTTPStatus.NOT_FOUND, explain="what there is stands at /metrics")
            return
        try:
            encode, content_type = choose_encoder(self.headers.get("Accept", ""))
            body = encode(_Collected(list(self.server.look(SCRAPER in self.headers))))
        except Exception:  # whatever it was, whoever asked is told, and the next one is answered
            signals.scrape_failed()
            log.exception("scrape_failed")
            self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR, explain="the metrics could not be made; see the log")
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Nothing: a line each few seconds tells nobody anything."""


class _Collected:
    """What was collected, once more, for the encoders."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families
