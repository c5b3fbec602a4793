from __future__ import annotations

from datetime import UTC, datetime

import httpx2
import openai
import pytest

from pipeline.providers.classify import classify
from pipeline.providers.retry_after import seconds_asked

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)

WORDS = [
    (429, {"code": "insufficient_quota"}, "budget"),
    (429, {"message": "You exceeded your current quota, check your plan and billing"}, "http_429"),
    (429, "Slow down", "http_429"),
    (402, None, "budget"),
    (400, {"type": "invalid_request_error", "message": "Your credit balance is too low"}, "budget"),
    (400, {"code": "context_length_exceeded"}, "context_too_long"),
    (400, {"message": "This model's maximum context length is 8192 tokens"}, "context_too_long"),
    (400, {"message": "prompt is too long: 210000 tokens > 200000"}, "context_too_long"),
    (400, {"type": "exceed_context_size_error"}, "context_too_long"),
    (413, {"message": "Please reduce the length of the messages"}, "context_too_long"),
    (400, {"message": "temperature must be at most 2"}, "http_4xx"),
    (403, {"code": "rate_limit_exceeded"}, "rate_limit"),
    (503, {"message": "Too many requests"}, "rate_limit"),
    (400, {"detail": "Request was throttled"}, "rate_limit"),
    (403, [{"error": {"status": "RESOURCE_EXHAUSTED"}}], "rate_limit"),
    (404, "<html>not found</html>", "http_4xx"),
    (408, None, "http_4xx"),
    (500, {"code": 500, "message": None}, "http_500"),
    (529, {"type": "overloaded_error"}, "http_529"),
    (307, None, "http_307"),
]


@pytest.mark.parametrize(("status", "body", "reason"), WORDS)
def test_the_provider_s_words_tell_more_than_its_status(status: int, body: object, reason: str) -> None:
    response = httpx2.Response(status, request=httpx2.Request("POST", "http://provider"))
    failure = classify(openai.APIStatusError("", response=response, body=body), answering=False)
    assert (failure.reason, failure.status_code) == (reason, status)


def test_an_error_in_mid_answer_is_read_like_any_other() -> None:
    request = httpx2.Request("POST", "http://provider")
    limited = openai.APIError("", request, body={"code": "rate_limit_exceeded"})
    assert classify(limited, answering=True).reason == "rate_limit"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after-ms": "250", "retry-after": "3"}, 0.25),
        ({"retry-after-ms": "x", "retry-after": "3"}, 3),
        ({"retry-after": "Sun, 01 Nov 2026 12:00:30 GMT"}, 30),
        ({"retry-after": "Sun, 01 Nov 2026 11:00:00 GMT"}, 0),
        ({"retry-after": "1795867200000"}, 86_400),
        ({"retry-after": "1e22"}, 86_400),
        ({"retry-after-ms": "1795867200000"}, 86_400),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}, 86_400),
        ({"retry-after": "Fri, 31 Dec 2026 23:59:59 +99999999999999999999"}, None),
        ({"retry-after": "Fri, 31 Dec 2026 99999999999999999999:59:59 GMT"}, None),
        ({"retry-after": "Sun, 01 Nov 2026 13:00:30 GMT", "date": "Sun, 01 Nov 2026 13:00:00 GMT"}, 30),
    ],
)
def test_retry_after_is_read_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert seconds_asked(httpx2.Headers(headers), NOON) == seconds
