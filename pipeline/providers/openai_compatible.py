"""Providers that speak the OpenAI-compatible chat-completions protocol, through OpenAI's SDK."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import openai
from openai.types.chat import ChatCompletionChunk

from pipeline.errors import ProviderError
from pipeline.providers.assembly import Assembly
from pipeline.providers.classify import BadReplyError, classify
from pipeline.providers.connections import Transport
from pipeline.providers.contract import CallControl, CallRequest, Completion
from pipeline.providers.progress import Progress, seconds_for
from pipeline.providers.watch import watching
from pipeline.schemas import Call, Message
from pipeline.settings import ProviderSettings, Settings


class OpenAICompatible:
    """One provider: one SDK client, whose connections all threads of the process share."""

    def __init__(self, provider: ProviderSettings, settings: Settings) -> None:
        self.name = provider.name
        self.model = provider.model
        self._provider = provider
        self._settings = settings
        self._identity = _identity(provider.api_key.get_secret_value())
        self._http = httpx2.Client(transport=Transport(provider.base_url, keep=settings.worker_slots))
        self._client = openai.OpenAI(
            base_url=provider.base_url,
            api_key=provider.api_key.get_secret_value(),
            max_retries=0,  # retrying is the pipeline's
            # Only connecting has a limit that is the HTTP client's; all else is bounded by the call's watch.
            timeout=httpx2.Timeout(None, connect=settings.provider_connect_timeout),
            http_client=self._http,
        )

    def call(
        self,
        request: CallRequest,
        *,
        on_text: Callable[[str], None],
        on_call: Callable[[Call], None],
        control: CallControl,
    ) -> Completion:
        progress = Progress(
            self._provider,
            control,
            seconds=min(seconds_for(self._settings, request.attempt), control.seconds_left),
            first_token_seconds=self._settings.provider_first_token_timeout,
        )
        failure = None
        try:
            control.check()
            with watching(progress.watch):
                completion = self._converse(request, on_text, progress)
            progress.reason = None
        except (openai.OpenAIError, BadReplyError) as exc:
            failure = classify(exc, answering=progress.status_code is not None)
            progress.reason = failure.reason
            progress.status_code = failure.status_code or progress.status_code
        finally:
            on_call(progress.record())
        if failure is None:
            return completion
        # Raised here, not where it was caught: as its context, the SDK's error would carry the provider's words along.
        raise ProviderError(
            failure.reason,
            provider=self.name,
            status_code=failure.status_code,
            retry_after=failure.retry_after,
        )

    def close(self) -> None:
        self._http.close()

    def _converse(self, request: CallRequest, on_text: Callable[[str], None], progress: Progress) -> Completion:
        assembly = Assembly()
        with self._send(request) as stream:
            progress.status_code = stream.response.status_code
            for chunk in _chunks(stream):
                text = assembly.add(chunk)
                progress.usage = assembly.usage
                if assembly.begun:
                    progress.token()
                if text:
                    on_text(text)
            if text := assembly.rest():
                on_text(text)
        return Completion(assembly.reply(self.name, self.model), assembly.cleaned)

    def _send(self, request: CallRequest) -> openai.Stream[ChatCompletionChunk]:
        body: dict[str, Any] = {
            **request.options,
            "model": self.model,
            "messages": [_as_json(message) for message in request.messages],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if request.tools:
            body["tools"] = list(request.tools)
        headers = self._identity | ({"X-Client-Request-Id": request.request_id} if request.request_id else {})
        # `post` rather than `chat.completions.create`: options that the SDK has no parameter for go through as well.
        return self._client.post(
            "/chat/completions",
            body=body,
            options={"headers": headers},
            cast_to=ChatCompletionChunk,
            stream=True,
            stream_cls=openai.Stream[ChatCompletionChunk],
        )


def _identity(key: str) -> dict[str, str | openai.Omit]:
    """The headers that say who calls. Of itself the SDK would take them from `OPENAI_…` variables, which may hold the
    keys and names for another provider: they are none of this one's business."""
    nothing = openai.Omit()
    bearer = f"Bearer {key}" if key else nothing
    return {"Authorization": bearer, "OpenAI-Organization": nothing, "OpenAI-Project": nothing}


def _chunks(stream: openai.Stream[ChatCompletionChunk]) -> Iterator[ChatCompletionChunk]:
    """The stream's chunks. Raises BadReplyError for what is not JSON, apart from what the loop around it may raise."""
    try:
        yield from stream
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise BadReplyError from None


def _as_json(message: Message) -> dict[str, Any]:
    said: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        said["tool_calls"] = list(message.tool_calls)
        said["content"] = message.content or None
    if message.tool_call_id is not None:
        said["tool_call_id"] = message.tool_call_id
    return said
