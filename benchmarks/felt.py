"""What a person waits for: round trips per sign-in, after the connection has idled for a while.

    python -m benchmarks.felt [--quick] [--json FILE]

A relay in front of the service delays every byte, and a connection's start, as a link of 10, 40 or 150 ms
would; TLS goes through it. Each candidate makes one call, idles for a gap, and makes the call that counts.
All gaps, links and candidates idle at the same time, each with a client of its own, so the run takes as
long as the longest gap. One more line is the first call of a new process, with its imports.
"""

import argparse
import asyncio
import json
import ssl
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import trustme

from benchmarks.answer import answer, as_body
from benchmarks.measure import installed, machine
from benchmarks.server import running

PROJECT: Final = "P2abcdefghijklmnopqrstuvwxyz"
PROOF: Final = {"provider": "google", "stateId": "state", "idToken": "id.to.ken"}
LINKS: Final = (0.010, 0.040, 0.150)
GAPS: Final = (0, 3, 10, 20, 50, 120)
ROUNDS: Final = 5
"""Clients of each kind, each with one timed call; their median is what is printed."""

Call = Callable[[], Awaitable[object]]
Client = Callable[[str, ssl.SSLContext], AbstractAsyncContextManager[Call]]


# --- the link


class Link:
    """Passes bytes on after half a round trip; a new connection has had none for a whole one."""

    def __init__(self, port: int, round_trip: float) -> None:
        self._port = port
        self._half = round_trip / 2

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("localhost", self._port)
        opened = asyncio.get_running_loop().time() + 2 * self._half  # SYN and SYN-ACK
        await asyncio.gather(self._pass(reader, there_writer, opened), self._pass(there_reader, writer, 0.0))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, since: float) -> None:
        loop = asyncio.get_running_loop()
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                loop.call_at(max(loop.time(), since) + self._half, writer.write, data)
        loop.call_at(max(loop.time(), since) + self._half, writer.close)


async def relay(port: int, links: list[float]) -> None:
    servers = [await asyncio.start_server(Link(port, link), "localhost", 0) for link in links]
    print(*(server.sockets[0].getsockname()[1] for server in servers), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)


@contextmanager
def relaying(port: int, links: tuple[float, ...]) -> Iterator[dict[float, str]]:
    """The base URL of the service behind each link, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.felt", "--relay", str(port), *map(str, links)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        ports = process.stdout.readline().split()
        yield {link: f"https://localhost:{int(of_link)}" for link, of_link in zip(links, ports, strict=True)}
        process.stdin.close()


# --- who calls


def ours(**options: Any) -> Client:
    @asynccontextmanager
    async def opened(base: str, trust: ssl.SSLContext) -> AsyncIterator[Call]:
        from descope_native import AiohttpTransport, NativeOAuthFinisher

        async with AiohttpTransport.open(ssl=trust, **options) as transport:
            finisher = NativeOAuthFinisher(PROJECT, transport, base_url=base)
            if options.get("keep_warm"):
                await finisher.warm()
            yield lambda: finisher.finish(provider="google", state_id="state", id_token="id.to.ken")

    return opened


@asynccontextmanager
async def aiohttp_default(base: str, trust: ssl.SSLContext) -> AsyncIterator[Call]:
    import aiohttp

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust)) as session:

        async def call() -> None:
            async with session.post(f"{base}/v1/auth/oauth/native/finish", json=PROOF) as response:
                await response.json()

        yield call


@asynccontextmanager
async def httpx_default(base: str, trust: ssl.SSLContext) -> AsyncIterator[Call]:
    import httpx

    async with httpx.AsyncClient(verify=trust) as client:

        async def call() -> None:
            (await client.post(f"{base}/v1/auth/oauth/native/finish", json=PROOF)).json()

        yield call


@asynccontextmanager
async def official(base: str, trust: ssl.SSLContext) -> AsyncIterator[Call]:
    """What every method of the vendor's async client comes down to, with the certificate unchecked."""
    from descope.http_client_async import HTTPClientAsync

    async with HTTPClientAsync(PROJECT, base, secure=False) as client:

        async def call() -> None:
            (await client.post("/v1/auth/oauth/native/finish", body=dict(PROOF))).json()

        yield call


def candidates() -> dict[str, Client]:
    found: dict[str, Client] = {"ours": ours(), "ours, keep_warm": ours(keep_warm=True)}
    found["aiohttp"] = aiohttp_default
    if installed("httpx"):
        found["httpx"] = httpx_default
    if installed("descope"):
        found["descope"] = official
    return found


# --- what it takes


async def once_idle(client: Client, base: str, trust: ssl.SSLContext, gap: float) -> float:
    """Seconds of the call after the gap."""
    async with client(base, trust) as call:
        await call()
        await asyncio.sleep(gap)
        began = time.perf_counter()
        await call()
        return time.perf_counter() - began


async def felt(
    bases: dict[float, str], trust: ssl.SSLContext, gaps: tuple[float, ...], rounds: int
) -> list[dict[str, Any]]:
    cells = [
        (name, client, link, gap) for name, client in candidates().items() for link in bases for gap in gaps
    ]

    async def cell(number: int, client: Client, link: float, gap: float) -> list[float]:
        seconds = []
        for turn in range(rounds):
            # Each has a moment of its own, so that none waits for another's turn of the loop.
            await asyncio.sleep((number + turn * len(cells)) * 0.02)
            seconds.append(asyncio.create_task(once_idle(client, bases[link], trust, gap)))
        return [await each for each in seconds]

    tasks = [
        asyncio.create_task(cell(number, client, link, gap))
        for number, (_, client, link, gap) in enumerate(cells)
    ]
    results = await asyncio.gather(*tasks)
    return [
        {
            "client": name,
            "link": link,
            "gap": gap,
            "round_trips": statistics.median(seconds) / link,
            "worst": max(seconds) / link,
        }
        for (name, _, link, gap), seconds in zip(cells, results, strict=True)
    ]


def first_calls(base: str, link: float, certificate: Path, rounds: int) -> list[dict[str, Any]]:
    """Seconds that a new process takes until its first answer is there, imports included."""
    lines = []
    for name in candidates():
        command = [sys.executable, "-m", "benchmarks.felt", "--first", name, base, str(certificate)]
        seconds = [
            float(subprocess.run(command, capture_output=True, check=True).stdout) for _ in range(rounds)
        ]
        lines.append({"client": name, "link": link, "seconds": statistics.median(seconds)})
    return lines


async def first_call(name: str, base: str, certificate: str) -> None:
    trust = ssl.create_default_context(cafile=certificate)
    async with candidates()[name](base, trust) as call:
        await call()


def table(lines: list[dict[str, Any]]) -> str:
    gaps = sorted({line["gap"] for line in lines})
    rows = [["round trips of", "client", *(f"{gap:g} s" for gap in gaps)]]
    for link in sorted({line["link"] for line in lines}):
        for name in dict.fromkeys(line["client"] for line in lines):
            cells = {line["gap"]: line for line in lines if (line["link"], line["client"]) == (link, name)}
            rows.append([f"{link * 1000:g} ms", name, *(f"{cells[gap]['round_trips']:.2f}" for gap in gaps)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a smoke run: its figures mean nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table to this file as well")
    quick = parser.parse_args()
    links, gaps, rounds = (LINKS[:1], (0, 0.2), 1) if quick.quick else (LINKS, GAPS, ROUNDS)
    authority = trustme.CA()
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    certificate = authority.issue_cert("localhost").private_key_and_cert_chain_pem
    with (
        certificate.tempfile() as path,
        authority.cert_pem.tempfile() as root,
        running(as_body(answer()), certificate=path) as base,
        relaying(int(base.rpartition(":")[2]), links) as bases,
    ):
        lines = asyncio.run(felt(bases, trust, gaps, rounds))
        first = first_calls(bases[links[0]], links[0], Path(root), rounds)
    print(table(lines))
    for line in first:
        link = f"{line['link'] * 1000:g} ms"
        print(f"first call of a process, {link} link: {line['client']} {line['seconds']:.3f} s")
    if quick.json:
        report = {"machine": machine(), "quick": quick.quick, "felt": lines, "first": first}
        quick.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--relay", port, *links]:
            asyncio.run(relay(int(port), [float(link) for link in links]))
        case ["--first", name, base, certificate]:
            began = time.perf_counter()
            asyncio.run(first_call(name, base, certificate))
            print(time.perf_counter() - began)
        case _:
            main()
