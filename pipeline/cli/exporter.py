"""`pipeline exporter`: what only a look at the whole can tell, for Prometheus."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Annotated

import typer
from prometheus_client import disable_created_metrics

from pipeline.exporter import Exporter
from pipeline.serving import Server
from pipeline.settings import current
from pipeline.worker.measuring import tell_build

Host = Annotated[str | None, typer.Option(help="Address to listen on; CITE_AGENT_METRICS_HOST when not given.")]
Port = Annotated[int | None, typer.Option(help="Its port, a free one when 0; CITE_AGENT_METRICS_PORT when not given.")]


def exporter(*, host: Host = None, port: Port = None) -> None:
    """Serve the queues, workers, breakers and archives as metrics until Ctrl-C, and print where.

    Example: pipeline exporter --port 9200
    """
    settings = current()
    disable_created_metrics()
    tell_build()
    whole = Exporter(settings)
    wanted = settings.metrics_port if port is None else port
    server = Server(whole.look, host=host or settings.metrics_host, port=wanted)
    stopping = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    server.start()
    typer.echo(server.url)
    stopping.wait()
    server.stop()
    whole.close()
