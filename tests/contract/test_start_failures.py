"""The failure table for a start: the errors of a finish, and what may be repeated, since nothing is spent."""

import json
from typing import Any

import pytest
from kit.servers import Connection, Script, after_request, answer, saying, serve
from kit.servers import answering as answering_each
from kit.support import PROJECT, Answer, Answering, as_json, only

from descope_native import (
    AiohttpTransport,
    ConnectionLost,
    DescopeNativeError,
    NativeOAuthFinisher,
    NativeOAuthStarter,
    Outcome,
    RateLimitedError,
    RejectedError,
    RequestTimeout,
    ServerError,
    StartResult,
    UnexpectedResponse,
)

STARTED = {"clientId": "com.example.app", "stateId": "state-1", "nonce": "nonce-1", "implicit": True}
PROOF: dict[str, Any] = {"provider": "google", "state_id": "state", "id_token": "id.to.ken"}


async def failure_of(call: Any) -> DescopeNativeError:
    with pytest.raises(DescopeNativeError) as caught:
        await call
    return caught.value


async def test_a_start_is_what_the_phone_needs(answering: Answering) -> None:
    """The request has the provider, the project as its bearer, and nothing that was not given."""
    async with answering(Answer(body=as_json(STARTED))) as service:
        started = await service.start(provider="google", login_options=None, refresh_jwt="")
    assert started == StartResult(
        state_id="state-1", client_id="com.example.app", nonce="nonce-1", implicit=True
    )
    received = only(service.received)
    assert (received.method, received.path) == ("POST", "/v1/auth/oauth/native/start")
    assert json.loads(received.body) == {"provider": "google"}
    assert received.header("Authorization") == [f"Bearer {PROJECT}"]
    assert received.header("Cookie") == []


@pytest.mark.parametrize(
    ("said", "kind", "safe"),
    [
        (Answer(400), RejectedError, False),
        (Answer(401), RejectedError, False),
        (Answer(404), RejectedError, False),
        (Answer(421), RejectedError, True),
        (Answer(425), RejectedError, True),
        (Answer(429, [("Retry-After", "3")]), RateLimitedError, True),
        (Answer(408), ServerError, True),
        (Answer(499), ServerError, True),
        (Answer(500), ServerError, True),
        (Answer(503), ServerError, True),
        (Answer(302, [("Location", "https://elsewhere.example")]), UnexpectedResponse, False),
        (Answer(204), UnexpectedResponse, False),
        (Answer(200, body=b'{"stateId": "s'), UnexpectedResponse, True),
        (Answer(200, body=b"[]"), UnexpectedResponse, False),
        (Answer(200, body=b"{}"), UnexpectedResponse, False),
        (Answer(200, body=b"x" * 1024 * 1025), UnexpectedResponse, False),
    ],
    ids=lambda value: f"{value.status}-{len(value.body)}" if isinstance(value, Answer) else None,
)
async def test_an_answer_means_what_it_means_to_a_finish(
    answering: Answering, said: Answer, kind: type[DescopeNativeError], safe: bool
) -> None:
    """The same error with the same outcome. Only ``safe_to_retry`` knows that a start spends nothing."""
    async with answering(said) as service:
        of_start = await failure_of(service.start())
        of_finish = await failure_of(service.finish())
    assert type(of_start) is type(of_finish) is kind
    assert of_start.outcome is of_finish.outcome
    assert of_start.safe_to_retry is safe
    assert of_finish.safe_to_retry is (safe and of_finish.outcome is Outcome.REJECTED)
    assert len(service.received) == 2


def cut(connection: Connection) -> None:
    connection.reset()


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (after_request(cut), ConnectionLost),
        (saying(b"HTTP/1.1 200 OK\r\nContent-Le", then=cut), ConnectionLost),
        (saying(b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{", then=cut), ConnectionLost),
        (saying(b"what is this\r\n\r\n"), UnexpectedResponse),
        (saying(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n"), UnexpectedResponse),
        (saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), UnexpectedResponse),
        (Connection.gone, RequestTimeout),
    ],
    ids=["reset", "head cut", "body cut", "not HTTP", "head too long", "bad chunk", "silence"],
)
async def test_what_is_lost_on_its_way_may_be_started_again(
    script: Script, kind: type[DescopeNativeError]
) -> None:
    """Rows 9 to 12 of the table: unknown for both; the start may go out again, the finish may not."""
    async with serve(script) as server, AiohttpTransport.open() as transport:
        starter = NativeOAuthStarter(PROJECT, transport, base_url=server.url(), timeout=0.5)
        finisher = NativeOAuthFinisher(PROJECT, transport, base_url=server.url(), timeout=0.5)
        of_start = await failure_of(starter.start(provider="google"))
        of_finish = await failure_of(finisher.finish(**PROOF))
    assert type(of_start) is type(of_finish) is kind
    assert (of_start.outcome, of_start.safe_to_retry) == (Outcome.UNKNOWN, True)
    assert (of_finish.outcome, of_finish.safe_to_retry) == (Outcome.UNKNOWN, False)


async def test_both_calls_share_a_connection() -> None:
    """Starter and finisher over one transport: the second call needs no handshake."""
    script = answering_each(
        answer(200, dict(STARTED)), answer(200, {"sessionJwt": "s.e.s"}), answer(200, dict(STARTED))
    )
    async with serve(script) as server, AiohttpTransport.open() as transport:
        starter = NativeOAuthStarter(PROJECT, transport, base_url=server.url())
        finisher = NativeOAuthFinisher(PROJECT, transport, base_url=server.url())
        started = await starter.start(provider="google")
        await finisher.finish(provider="google", state_id=started.state_id, id_token="id.to.ken")
        await starter.start(provider="google")
        assert len(server.connections) == 1
