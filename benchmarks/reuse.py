"""What the proof costs that no stray answer can meet the next request: a TLS handshake for each call."""

import asyncio
import ssl
from contextlib import AsyncExitStack
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
    return [ratio("reuse", f"over TLS, {FRESH} ÷ {REUSED}", costs, (FRESH, REUSED))]


if __name__ == "__main__":
    main(reuse)
