"""The simulator's endpoints."""

from __future__ import annotations

from dataclasses import asdict

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.providers.simulator.behaviour import Behaviour, Script
from pipeline.providers.simulator.chat import Chat
from pipeline.providers.simulator.counts import Counts


class Controls:
    """The control endpoints: behaviour and counts can be read and set while the simulator serves."""

    def __init__(self, chat: Chat, counts: Counts) -> None:
        self._chat = chat
        self._counts = counts

    async def read_behaviour(self, _: Request) -> Response:
        return Response(self._chat.script.ahead.model_dump_json(), media_type="application/json")

    async def set_behaviour(self, request: Request) -> Response:
        try:
            behaviour = Behaviour.model_validate_json(await request.body())
        except ValidationError as wrong:
            errors = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in wrong.errors()]
            return JSONResponse({"errors": errors}, status_code=422)
        self._chat.script = Script(behaviour)
        return await self.read_behaviour(request)

    async def reset(self, request: Request) -> Response:
        self._chat.script = Script(Behaviour(seed=self._chat.script.behaviour.seed))
        self._counts.reset()
        return await self.read_behaviour(request)

    async def read_counts(self, _: Request) -> Response:
        return JSONResponse(asdict(self._counts.snapshot()))

    async def reset_counts(self, request: Request) -> Response:
        self._counts.reset()
        return await self.read_counts(request)


async def health(_: Request) -> Response:
    return JSONResponse({"status": "ok", "simulator": True})


async def models(_: Request) -> Response:
    model = {"id": "simulated", "object": "model", "created": 0, "owned_by": "simulator"}
    return JSONResponse({"object": "list", "data": [model]})


def application(chat: Chat, counts: Counts) -> Starlette:
    """The simulator's ASGI application. It needs `server.Protocol`, which hands it the connection."""
    controls = Controls(chat, counts)
    return Starlette(
        routes=[
            Route("/v1/chat/completions", chat, methods=["POST"]),
            Route("/v1/models", models),
            Route("/health", health),
            Route("/_simulator/behaviour", controls.read_behaviour),
            Route("/_simulator/behaviour", controls.set_behaviour, methods=["POST"]),
            Route("/_simulator/behaviour", controls.reset, methods=["DELETE"]),
            Route("/_simulator/counts", controls.read_counts),
            Route("/_simulator/counts", controls.reset_counts, methods=["DELETE"]),
        ]
    )
