"""What an aiohttp trace config of the application's gets to hear of our calls."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import pytest
from kit.servers import Connection, answer, answering, serve, session
from kit.support import failure, finish
from yarl import URL

from descope_native import (
    AiohttpTransport,
    ConnectionLost,
    Outcome,
    RejectedError,
    RequestTimeout,
    TransportError,
    UnexpectedResponse,
)

CANARY = "CANARY-4711"


async def test_a_trace_config_is_told_the_name_of_an_error_and_not_its_text() -> None:
    """Any tracer hears of a failure in its own context, without what aiohttp's error quotes."""
    heard: list[tuple[object, BaseException]] = []
    begun: list[object] = []
    asked: list[tuple[str, URL, dict[str, str]]] = []

    async def on_start(
        _: aiohttp.ClientSession, context: SimpleNamespace, begins: aiohttp.TraceRequestStartParams
    ) -> None:
        begun.append(context)
        asked.append((begins.method, begins.url, dict(begins.headers)))

    async def on_exception(
        session: aiohttp.ClientSession, context: SimpleNamespace, failed: aiohttp.TraceRequestExceptionParams
    ) -> None:
        assert not session.closed
        heard.append((context, failed.exception))
        asked.append((failed.method, failed.url, dict(failed.headers)))

    garbage = f"HTTP/1.1 200 OK\r\nbad header {CANARY}: x\r\n\r\n".encode()

    config = aiohttp.TraceConfig()
    config.on_request_start.append(on_start)
    config.on_request_exception.append(on_exception)
    async with (
        serve(answering(garbage)) as server,
        aiohttp.ClientSession(trace_configs=[config]) as owner,
    ):
        assert isinstance(await failure(AiohttpTransport(owner), server.url()), UnexpectedResponse)
    ((context, error),) = heard
    assert begun == [context]
    assert asked[0] == asked[1]
    assert asked[0][:2] == ("POST", URL(server.url() + "/v1/auth/oauth/native/finish"))
    assert asked[0][2]["Content-Type"] == "application/json"
    assert repr(error) == "ClientError('UnexpectedResponse')"
    assert (error.__context__, error.__cause__, error.__traceback__) == (None, None, None)


def tracing(**signals: Any) -> aiohttp.TraceConfig:
    """A trace config with these handlers, by signal."""
    config = aiohttp.TraceConfig()
    for name, handler in signals.items():
        getattr(config, name).append(handler)
    return config


async def test_a_tracer_hears_of_start_and_head_and_of_no_body() -> None:
    """Bodies hold codes and tokens. Of the head it gets what it may know from aiohttp's own answers."""
    heard: list[str] = []
    answers: list[Any] = []

    def hearing(name: str) -> Any:
        async def hear(_: object, __: object, params: Any) -> None:
            heard.append(name)
            answers.append(getattr(params, "response", None))

        return hear

    signals = [name for name in dir(aiohttp.TraceConfig) if name.startswith("on_")]
    config = tracing(**{name: hearing(name) for name in signals})
    async with (
        serve(answering(session("a.b.c", "X-Known: yes"))) as server,
        aiohttp.ClientSession(trace_configs=[config]) as owner,
    ):
        transport = AiohttpTransport(owner)
        for _ in range(2):
            await finish(transport, server.url())
    assert heard[0] == heard[-3] == "on_request_start"
    assert heard[-2:] == ["on_connection_reuseconn", "on_request_end"]
    assert heard.count("on_connection_create_end") == 1
    assert not {name for name in heard if "chunk" in name or "exception" in name}
    told = answers[-1]
    assert (told.status, told.reason, told.ok, told.method) == (200, "Whatever", True, "POST")
    assert told.url == told.real_url == URL(server.url() + "/v1/auth/oauth/native/finish")
    assert told.headers["x-known"] == "yes"
    assert told.version == aiohttp.HttpVersion11
    assert "yes" not in repr(told)


@pytest.mark.parametrize("signal", ["on_request_start", "on_request_end", "on_request_exception"])
@pytest.mark.parametrize("status", [200, 400, None])
async def test_a_tracer_that_fails_costs_nothing(
    signal: str, status: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    """A session is handed over, and an error stays what it is; the next tracer is told as well."""
    told: list[object] = []

    async def fail(*_: object) -> None:
        raise RuntimeError(CANARY)

    async def hear(*_: object) -> None:
        told.append(None)

    configs = [tracing(**{signal: fail}), tracing(**{signal: hear})]
    script = answering(session("a.b.c") if status == 200 else answer(400)) if status else hang_up
    async with serve(script) as server, aiohttp.ClientSession(trace_configs=configs) as owner:
        transport = AiohttpTransport(owner)
        if status == 200:
            assert (await finish(transport, server.url())).session_jwt == "a.b.c"
        else:
            kind = RejectedError if status else ConnectionLost
            assert type(await failure(transport, server.url())) is kind
    hears = {"on_request_start": True, "on_request_end": status is not None}
    assert bool(told) is hears.get(signal, status is None)
    assert [
        record.getMessage()
        for record in caplog.records
        if record.name == "descope_native" and "tracer" in record.getMessage()
    ] == (["a tracer failed (RuntimeError)"] if told else [])
    assert CANARY not in caplog.text


async def hang_up(connection: Connection) -> None:
    await connection.request()
    connection.finish()


async def dawdle(*_: object) -> None:
    await asyncio.sleep(30)


@pytest.mark.parametrize("end", ["deadline", "cancelled"])
async def test_a_call_that_has_to_end_does_not_wait_for_its_tracers(end: str) -> None:
    """They hear of it as far as they come at once."""
    heard: list[str] = []

    async def dawdle_then(_: object, __: object, params: aiohttp.TraceRequestExceptionParams) -> None:
        heard.append(repr(params.exception))
        await asyncio.sleep(30)

    config = tracing(on_request_exception=dawdle_then)
    async with serve(Connection.gone) as server, aiohttp.ClientSession(trace_configs=[config]) as owner:
        started = time.monotonic()
        call = asyncio.ensure_future(
            finish(AiohttpTransport(owner), server.url(), timeout=0.1 if end == "deadline" else 30)
        )
        await asyncio.wait([call], timeout=0.2)
        call.cancel()
        with pytest.raises(RequestTimeout if end == "deadline" else asyncio.CancelledError):
            await call
    assert time.monotonic() - started < 1
    assert heard == ["ClientError('CancelledError')"]


async def test_a_tracer_that_dawdles_does_not_take_back_a_rejection() -> None:
    """The status is there before any tracer is told of it."""
    config = tracing(on_request_end=dawdle)
    async with (
        serve(answering(answer(400))) as server,
        aiohttp.ClientSession(trace_configs=[config]) as owner,
    ):
        error = await failure(AiohttpTransport(owner), server.url(), timeout=0.2)
    assert type(error) is RejectedError


async def insist(*_: object) -> None:
    try:
        await asyncio.sleep(30)
    finally:
        await asyncio.sleep(30)


@pytest.mark.parametrize("tracer", [dawdle, insist])
async def test_a_tracer_that_dawdles_costs_nobody_a_session(tracer: Callable[..., Awaitable[None]]) -> None:
    """It hears of the answer, and is not waited for."""
    config = tracing(on_request_end=tracer)
    async with (
        serve(answering(session("a.b.c"))) as server,
        aiohttp.ClientSession(trace_configs=[config]) as owner,
    ):
        assert (await finish(AiohttpTransport(owner), server.url(), timeout=5)).session_jwt == "a.b.c"


async def test_a_tracer_that_will_not_be_stopped_is_left() -> None:
    """Not even that keeps a cancelled call."""
    config = tracing(on_request_exception=insist)
    async with serve(Connection.gone) as server, aiohttp.ClientSession(trace_configs=[config]) as owner:
        error = await failure(AiohttpTransport(owner), server.url(), timeout=0.1)
    assert type(error) is RequestTimeout


async def test_a_trace_config_that_makes_no_context_fails_before_anything_is_sent() -> None:
    """It is asked for one before there is a connection."""

    def fail(**_: object) -> None:
        raise KeyError(CANARY)

    config = aiohttp.TraceConfig(trace_config_ctx_factory=fail)  # type: ignore[arg-type]
    async with (
        serve(answering(session("a.b.c"))) as server,
        aiohttp.ClientSession(trace_configs=[config]) as owner,
    ):
        error = await failure(AiohttpTransport(owner), server.url())
    assert error.args == ("connect", "the transport failed (KeyError)")
    assert server.connections == []


@pytest.mark.parametrize(
    "signal", ["on_connection_create_start", "on_connection_create_end", "on_connection_reuseconn"]
)
async def test_a_tracer_that_fails_in_the_connector_costs_neither_call_nor_socket(signal: str) -> None:
    """aiohttp would lose the connection that it was about to hand over."""

    async def fail(*_: object) -> None:
        raise RuntimeError(CANARY)

    config = tracing(**{signal: fail})
    async with (
        serve(answering(session("a.b.c"))) as server,
        aiohttp.ClientSession(trace_configs=[config]) as owner,
    ):
        transport = AiohttpTransport(owner)
        for _ in range(3):
            assert (await finish(transport, server.url())).session_jwt == "a.b.c"
        assert len(server.connections) == 1
    await server.until(lambda: not server.open)


async def test_a_header_that_no_request_can_have_is_not_sent_and_not_proved_so() -> None:
    """A tracer may add headers. What aiohttp refuses it refuses where bytes might have left already."""

    async def inject(_: object, __: object, params: aiohttp.TraceRequestStartParams) -> None:
        cast("Any", params.headers)["X-Bad"] = f"a\r\n{CANARY}"

    config = tracing(on_request_start=inject)
    async with (
        serve(answering(session("a.b.c"))) as server,
        aiohttp.ClientSession(trace_configs=[config]) as owner,
    ):
        error = await failure(AiohttpTransport(owner), server.url())
        assert type(error) is TransportError
        assert (error.problem, error.outcome) == ("the transport failed (ValueError)", Outcome.UNKNOWN)
        assert server.received == b""


@pytest.mark.parametrize("status", [399, 400])
async def test_a_tracer_is_told_whether_an_answer_is_an_error_as_aiohttp_counts_it(status: int) -> None:
    """From 400 on it is one."""
    told: list[bool] = []

    async def hear(_: object, __: object, params: aiohttp.TraceRequestEndParams) -> None:
        told.append(params.response.ok)

    config = tracing(on_request_end=hear)
    async with (
        serve(answering(answer(status))) as server,
        aiohttp.ClientSession(trace_configs=[config]) as owner,
    ):
        await failure(AiohttpTransport(owner), server.url())
    assert told == [status < 400]


async def test_a_tracer_that_was_told_of_an_answer_hears_no_failure_of_its_body() -> None:
    """As with aiohttp's own client, to which a call is over with the head."""
    heard: list[str] = []

    def hearing(name: str) -> Any:
        async def hear(*_: object) -> None:
            heard.append(name)

        return hear

    async def script(connection: Connection) -> None:
        await connection.request()
        connection.send(session("a.b.c")[:-1])
        connection.finish()

    names = ("on_request_start", "on_request_end", "on_request_exception")
    config = tracing(**{name: hearing(name) for name in names})
    async with serve(script) as server, aiohttp.ClientSession(trace_configs=[config]) as owner:
        assert isinstance(await failure(AiohttpTransport(owner), server.url()), ConnectionLost)
    assert heard == ["on_request_start", "on_request_end"]
