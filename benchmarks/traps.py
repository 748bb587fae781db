"""Six traps on the way of a one-time code, and which client steps into which.

Each trap is a hand-made server on ``localhost``; what counts is what that server saw. Every client is
used as its own documentation shows, with a shared instance for two users.

    python -m benchmarks.traps
"""

import asyncio
import gzip
import json
import sys
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp

from descope_native import AiohttpTransport, DescopeNativeError, NativeOAuthFinisher, Outcome

PATH = "/v1/auth/oauth/native/finish"
Call = Callable[[str], Awaitable[Any]]
"""Sends one user's code and returns something that holds that user's session token."""
Opener = Callable[[str, float], Any]


@asynccontextmanager
async def ours(base: str, timeout: float) -> AsyncIterator[Call]:
    async with AiohttpTransport.open(ssl=True) as transport:
        finisher = NativeOAuthFinisher("P2", transport, base_url=base, timeout=timeout)

        async def call(code: str) -> Any:
            return (await finisher.finish(provider="google", state_id="s", code=code)).session_jwt

        yield call


@asynccontextmanager
async def idiomatic_aiohttp(base: str, timeout: float) -> AsyncIterator[Call]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout)) as session:

        async def call(code: str) -> Any:
            async with session.post(base + PATH, json={"code": code}) as response:
                response.raise_for_status()
                return (await response.json())["sessionJwt"]

        yield call


@asynccontextmanager
async def idiomatic_httpx(base: str, timeout: float) -> AsyncIterator[Call]:
    import httpx

    async with httpx.AsyncClient(timeout=timeout) as client:

        async def call(code: str) -> Any:
            response = await client.post(base + PATH, json={"code": code})
            return response.raise_for_status().json()["sessionJwt"]

        yield call


@asynccontextmanager
async def official_descope(base: str, timeout: float) -> AsyncIterator[Call]:
    from descope import DescopeClientAsync

    client = DescopeClientAsync(
        project_id="P2" + "x" * 25, base_url=base, timeout_seconds=timeout, public_key=None
    )
    async with client:

        async def call(code: str) -> Any:
            # Its nearest neighbour of the call that it does not have.
            return await client.oauth.exchange_token(code)

        yield call


CLIENTS: dict[str, Opener] = {
    "descope_native": ours,
    "descope (official, async)": official_descope,
    "httpx": idiomatic_httpx,
    "aiohttp": idiomatic_aiohttp,
}


class Server:
    """Reads whole requests, keeps them, and does what the trap says."""

    def __init__(self, trap: Callable[["Server", asyncio.StreamWriter, str], Awaitable[None]]) -> None:
        self.trap = trap
        self.talks: set[asyncio.Task[None] | None] = set()
        self.heads: list[str] = []
        self.bodies: list[str] = []

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.talks.add(asyncio.current_task())
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next(
                    int(line.split(":")[1])
                    for line in head.splitlines()
                    if line.lower().startswith("content-length")
                )
                body = (await reader.readexactly(length)).decode()
                self.heads.append(head)
                self.bodies.append(body)
                await self.trap(self, writer, body)
        except (asyncio.IncompleteReadError, OSError, ValueError, StopIteration):
            pass
        finally:
            writer.close()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self.talk, "localhost", 0)
        async with server:
            yield f"http://localhost:{server.sockets[0].getsockname()[1]}"
        await asyncio.gather(*filter(None, self.talks))


def answer(token: str, *headers: str, status: str = "200 OK") -> bytes:
    body = json.dumps({"sessionJwt": token, "refreshJwt": "r", "user": {}, "keys": []}).encode()
    return raw(body, "Content-Type: application/json", *headers, status=status)


def raw(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def attempt(call: Call, code: str) -> Any:
    try:
        return await call(code)
    except Exception as error:  # noqa: BLE001 -- whatever the client under test raises
        return error


async def cookie_of_another_user(client: Opener) -> bool:
    """Alice's refresh cookie does not travel with Bob's code."""

    async def trap(_: Server, writer: asyncio.StreamWriter, body: str) -> None:
        writer.write(answer("t", "Set-Cookie: DSR=alice-refresh; Path=/"))

    server = Server(trap)
    async with server.listening() as base, client(base, 5.0) as call:
        await attempt(call, "alice")
        await attempt(call, "bob")
    return len(server.heads) > 1 and "alice-refresh" not in "".join(server.heads[1:])


async def stray_answer(client: Opener) -> bool:
    """An answer nobody asked for, on an idle pooled connection, is not Bob's session."""
    idle = asyncio.Event()

    async def trap(server: Server, writer: asyncio.StreamWriter, body: str) -> None:
        writer.write(answer("alice" if "alice" in body else "bob"))
        if "alice" in body:
            await writer.drain()
            await idle.wait()
            writer.write(answer("mallory"))
            await writer.drain()

    server = Server(trap)
    async with server.listening() as base, client(base, 5.0) as call:
        await attempt(call, "alice")
        idle.set()
        await asyncio.sleep(
            0.05
        )  # the stray crosses the loopback; there is no event for "it is in the kernel"
        result = await attempt(call, "bob")
    return "mallory" not in str(result)


async def code_sent_twice(client: Opener) -> bool:
    """A gateway's 503 does not make the client send the code again."""

    async def trap(_: Server, writer: asyncio.StreamWriter, body: str) -> None:
        writer.write(raw(b"", status="503 Service Unavailable"))

    server = Server(trap)
    async with server.listening() as base, client(base, 5.0) as call:
        task = asyncio.ensure_future(attempt(call, "alice"))
        await asyncio.wait([task], timeout=1.0)  # some wait for seconds before they send it yet again
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return sum("alice" in body for body in server.bodies) == 1


async def redirect_followed(client: Opener) -> bool:
    """A 307 to another origin does not hand the code over there."""

    async def steal(_: Server, writer: asyncio.StreamWriter, body: str) -> None:
        writer.write(answer("stolen"))

    thief = Server(steal)
    async with thief.listening() as elsewhere:

        async def trap(_: Server, writer: asyncio.StreamWriter, body: str) -> None:
            writer.write(raw(b"", f"Location: {elsewhere}{PATH}", status="307 Temporary Redirect"))

        async with Server(trap).listening() as base, client(base, 5.0) as call:
            await attempt(call, "alice")
    return not thief.bodies


async def bomb(client: Opener) -> bool:
    """100 KB on the wire that unpack to 100 MB cost less than 8 MB here."""
    packed = gzip.compress(b" " * 100_000_000)

    async def trap(_: Server, writer: asyncio.StreamWriter, body: str) -> None:
        writer.write(raw(packed, "Content-Encoding: gzip", "Content-Type: application/json"))

    async with Server(trap).listening() as base, client(base, 5.0) as call:
        tracemalloc.start()
        try:
            await attempt(call, "alice")
            return tracemalloc.get_traced_memory()[1] < 8_000_000
        finally:
            tracemalloc.stop()


async def vague_error(client: Opener) -> bool:
    """From the error alone: a connect that timed out is told from a request that did."""

    over = asyncio.Event()

    async def silent(_: Server, writer: asyncio.StreamWriter, body: str) -> None:
        await over.wait()

    async with Server(silent).listening() as base, AsyncExitStack() as stack:
        unsent = await attempt(
            await stack.enter_async_context(client(base.replace("http:", "https:"), 0.3)), "a"
        )
        sent = await attempt(await stack.enter_async_context(client(base, 0.3)), "a")
        over.set()
    if isinstance(unsent, DescopeNativeError) and isinstance(sent, DescopeNativeError):
        return (unsent.outcome, sent.outcome) == (Outcome.NOT_SENT, Outcome.UNKNOWN)
    return isinstance(unsent, Exception) and isinstance(sent, Exception) and type(unsent) is not type(sent)


TRAPS = {
    "cookie of another user": cookie_of_another_user,
    "stray answer": stray_answer,
    "code sent twice": code_sent_twice,
    "redirect followed": redirect_followed,
    "bomb": bomb,
    "vague error": vague_error,
}


async def run() -> dict[str, dict[str, bool]]:
    """Client to trap to whether it came through."""
    return {
        name: {trap: await spring(client) for trap, spring in TRAPS.items()}
        for name, client in CLIENTS.items()
    }


def main() -> int:
    outcome = asyncio.run(run())
    width = max(map(len, outcome)) + 2
    print(" " * width + "  ".join(TRAPS))
    for name, passed in outcome.items():
        row = "  ".join(("passes" if ok else "FAILS").ljust(len(trap)) for trap, ok in passed.items())
        print(name.ljust(width) + row)
    return 0 if all(outcome["descope_native"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
