"""What the proof costs that no stray answer can meet the next request: a TLS handshake for each call."""

import asyncio
import ssl
import time
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import Final

import trustme

from benchmarks.answer import answer, as_body
from benchmarks.finish import Call, cpu_one_by_one, finishing
from benchmarks.measure import Ratio, Settings, interleaved, main, ratio
from benchmarks.server import running
from descope_native import AiohttpTransport

REUSED: Final = "a reused connection"
FRESH: Final = "a fresh connection per call"
RESUMED: Final = "a resumed TLS handshake"
FULL: Final = "a full one"


def reuse(settings: Settings) -> list[Ratio]:
    authority = trustme.CA()
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(trust)
    certificate = authority.issue_cert("localhost").private_key_and_cert_chain_pem
    with (
        certificate.tempfile() as path,
        running(as_body(answer()), certificate=path) as base,
        asyncio.Runner() as runner,
    ):
        stack = AsyncExitStack()
        calls: dict[str, Call] = {}
        for name, reuses in ((REUSED, True), (FRESH, False)):
            opened = AiohttpTransport.open(ssl=trust, reuse_connections=reuses)
            calls[name] = finishing(runner.run(stack.enter_async_context(opened)), base)

        def once(call: Call) -> float:
            return runner.run(cpu_one_by_one(call, settings.times(100)))

        try:
            candidates = {name: partial(once, call) for name, call in calls.items()}
            costs = interleaved("reuse", candidates, settings.rounds(20))
        finally:
            runner.run(stack.aclose())
    return [
        ratio("reuse", f"over TLS, {FRESH} ÷ {REUSED}", costs, (FRESH, REUSED)),
        resumption(settings, authority, trust),
    ]


def resumption(settings: Settings, authority: trustme.CA, trust: ssl.SSLContext) -> Ratio:
    """The client's part of a handshake in memory. asyncio has no way to hand it a session."""
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(theirs)
    _, session = handshake(theirs, trust, None)
    candidates = {
        RESUMED: lambda: handshake(theirs, trust, session)[0],
        FULL: lambda: handshake(theirs, trust, None)[0],
    }
    costs = interleaved("handshakes", candidates, settings.rounds(200))
    return ratio("reuse", f"client's CPU: {RESUMED} ÷ {FULL}", costs, (RESUMED, FULL))


def handshake(
    theirs: ssl.SSLContext, trust: ssl.SSLContext, session: ssl.SSLSession | None
) -> tuple[float, ssl.SSLSession | None]:
    """CPU seconds of the client, and the session that it could resume."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trust.wrap_bio(to_client, to_server, server_hostname="localhost", session=session)
    server = theirs.wrap_bio(to_server, to_client, server_side=True)
    seconds = 0.0
    for _ in range(2):  # flights
        start = time.thread_time()
        with suppress(ssl.SSLWantReadError):
            client.do_handshake()
        seconds += time.thread_time() - start
        with suppress(ssl.SSLWantReadError):
            server.do_handshake()
    server.write(b"x")
    start = time.thread_time()
    client.read(1)  # the session comes with the first bytes
    seconds += time.thread_time() - start
    assert client.session_reused == (session is not None)
    return seconds, client.session


if __name__ == "__main__":
    main(reuse)
