"""`POST /v1/chat/completions`: the answer, or the fault that is next."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from typing import Any

from starlette.types import Receive, Scope, Send

from pipeline.providers.simulator.answers import user_text
from pipeline.providers.simulator.behaviour import Script
from pipeline.providers.simulator.counts import Counts
from pipeline.providers.simulator.replies import REFUSALS, Headers, Reply, refusal

#: SO_LINGER with no time to linger: closing then sends a reset instead of an orderly end.
RESET = struct.pack("ii", 1, 0)


class Chat:
    """The endpoint, as a bare ASGI application: the framework's streaming response costs several times as much."""

    def __init__(self, script: Script, counts: Counts) -> None:
        self.script = script
        self._counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection = Connection(scope, receive, send)
        try:
            body = json.loads(await connection.body())
            messages = [message for message in body["messages"] if isinstance(message, dict)]
        except (ValueError, KeyError, TypeError):
            await connection.respond(400, b'{"error": {"message": "[simulated] not a chat request"}}')
            return
        text = user_text(messages)
        fault, latency = self.script.next()
        era = self._counts.arrive(connection.header(b"x-client-request-id"), text)
        outcome = "disconnected"
        try:
            await asyncio.sleep(latency)
            if fault.kind in REFUSALS:
                status, headers, document = refusal(fault, text)
                await connection.respond(status, document, headers)
            else:
                reply = Reply(fault, self.script.behaviour.seed, body, messages)
                await self._answer(connection, reply, streaming=bool(body.get("stream")))
            if fault.kind in ("reset", "cut", "cut_reset") or not connection.lost:
                outcome = fault.kind
        finally:
            self._counts.leave(outcome, era)

    async def _answer(self, connection: Connection, reply: Reply, *, streaming: bool) -> None:
        kind = reply.fault.kind
        if kind == "hang":
            await connection.wait_lost()
        elif kind == "reset":
            await connection.reset()
        elif streaming:
            await self._stream(connection, reply)
        elif kind in ("cut", "cut_reset"):
            await connection.start(200, [(b"content-type", b"application/json")])
            await connection.write(reply.whole()[:100])
            await (connection.cut() if kind == "cut" else connection.reset())
        else:
            await connection.respond(200, reply.whole())

    async def _stream(self, connection: Connection, reply: Reply) -> None:
        kind = reply.fault.kind
        rate = self.script.behaviour.tokens_per_second
        pieces = reply.pieces if rate else reply.few_pieces()
        if kind in ("cut", "cut_reset", "error_event", "malformed"):
            pieces = pieces[: len(pieces) // 2 + 1]
        await connection.start(200, [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")])
        if rate:
            await self._paced(connection, reply, pieces, 1 / rate)
            waiting = b""
        else:
            waiting = reply.opening() + b"".join(reply.piece(piece) for piece in pieces)
        if kind not in ("cut", "cut_reset"):
            await connection.write(waiting + reply.ending(), more=False)
            return
        await connection.write(waiting)
        await (connection.cut() if kind == "cut" else connection.reset())

    async def _paced(self, connection: Connection, reply: Reply, pieces: list[str], pause: float) -> None:
        """One token after the other, for as long as someone listens."""
        clock = asyncio.get_running_loop()
        due = clock.time()
        await connection.write(reply.opening())
        for piece in pieces:
            if connection.lost:
                return
            await connection.write(reply.piece(piece))
            due += pause
            await asyncio.sleep(due - clock.time())


class Connection:
    """One request's connection, and what is done to it."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._headers: Headers = scope["headers"]
        self._transport: asyncio.Transport = scope["state"]["transport"]
        self._receive = receive
        self._send = send

    @property
    def lost(self) -> bool:
        """Whether the caller is gone."""
        return self._transport.is_closing()

    def header(self, name: bytes) -> str | None:
        return next((value.decode("latin-1") for key, value in self._headers if key == name), None)

    async def body(self) -> bytes:
        parts, more = [], True
        while more:
            message = await self._receive()
            parts.append(message.get("body", b""))
            more = message.get("more_body", False)
        return b"".join(parts)

    async def start(self, status: int, headers: Headers) -> None:
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, body: bytes, *, more: bool = True) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    async def respond(self, status: int, document: bytes, headers: Headers | None = None) -> None:
        length = (b"content-length", str(len(document)).encode())
        await self.start(status, [(b"content-type", b"application/json"), length, *(headers or [])])
        await self.write(document, more=False)

    async def wait_lost(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def cut(self) -> None:
        """End the connection in the middle of the response."""
        self._transport.close()
        await self.wait_lost()

    async def reset(self) -> None:
        """Reset the connection."""
        peer: Any = self._transport.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._transport.abort()
        await self.wait_lost()
