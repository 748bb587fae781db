"""What an aiohttp trace config of the application's gets to hear of our calls."""

import asyncio
from types import SimpleNamespace

import aiohttp
import pytest

from descope_native import AiohttpTransport, NativeOAuthFinisher, UnexpectedResponse

CANARY = "CANARY-4711"


async def test_a_trace_config_is_told_the_name_of_an_error_and_not_its_text() -> None:
    """Any tracer hears of a failure in its own context, without what aiohttp's error quotes."""
    heard: list[tuple[object, BaseException]] = []
    begun: list[object] = []
    asked: list[tuple[str, str, str]] = []

    async def on_start(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
        begun.append(context)

    async def on_exception(
        session: aiohttp.ClientSession, context: SimpleNamespace, failed: aiohttp.TraceRequestExceptionParams
    ) -> None:
        assert not session.closed
        heard.append((context, failed.exception))
        asked.append((failed.method, failed.url.path, failed.headers["Content-Type"]))

    async def answer_garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\nbad header {CANARY}: x\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    config = aiohttp.TraceConfig()
    config.on_request_start.append(on_start)
    config.on_request_exception.append(on_exception)
    async with (
        await asyncio.start_server(answer_garbage, "localhost", 0) as server,
        aiohttp.ClientSession(trace_configs=[config]) as session,
    ):
        port = server.sockets[0].getsockname()[1]
        finisher = NativeOAuthFinisher("P2", AiohttpTransport(session), base_url=f"http://localhost:{port}")
        with pytest.raises(UnexpectedResponse):
            await finisher.finish(provider="google", state_id="s", id_token="t")
    ((context, error),) = heard
    assert begun == [context]
    assert asked == [("POST", "/v1/auth/oauth/native/finish", "application/json")]
    assert repr(error) == "ClientError('UnexpectedResponse')"
    assert (error.__context__, error.__cause__, error.__traceback__) == (None, None, None)
