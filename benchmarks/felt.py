"""What a person waits for: round trips per sign-in, after the connection has idled for a while.

    python -m benchmarks.felt [--quick] [--json FILE]

A relay in front of the service delays every byte, and a connection's start, as a link of 10, 40 or 150 ms
would; TLS goes through it. A round trip is what a bare socket takes for the same bytes over that link once
it is connected, since relay and service take their part of it.

Each candidate makes one call, idles for a gap, and makes the call that counts. All gaps, links and candidates
idle at the same time, each with a client of its own, so the run takes little longer than the longest gap. The
first call of a new process is timed too: from the start of the process, imports included, and by itself,
where `keep_warm` has connected before.
"""

import asyncio
import json
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from benchmarks.measure import Ratio, Settings

PROJECT: Final = "P2abcdefghijklmnopqrstuvwxyz"
PATH: Final = "/v1/auth/oauth/native/finish"
PROOF: Final = {"provider": "google", "stateId": "state", "idToken": "id.to.ken"}
BARE: Final = 21
"""Exchanges of a bare socket, whose median is a round trip."""

OURS: Final = "ours"
WARM: Final = "ours, keep_warm"
LINKS: Final = (0.010, 0.040, 0.150)
GAPS: Final = (0, 3, 10, 20, 50, 120)
MOST_BY_DEFAULT: Final = 50
"""Seconds that a connection is used again by default, less five for a call that is late."""

ROUNDS: Final = 5
"""Clients of each kind, each with one timed call; their median is what is printed."""

SPACING: Final = 0.037
"""Seconds between the starts of two clients, so that none waits for another's turn of the loop."""

Call = Callable[[], Awaitable[object]]
Client = Callable[[str, ssl.SSLContext], AbstractAsyncContextManager[Call]]


# --- the link


class Link:
    """Passes bytes on after half a round trip; a new connection has had none for a whole one."""

    def __init__(self, port: int, round_trip: float) -> None:
        self._port = port
        self._half = round_trip / 2

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened = asyncio.get_running_loop().time() + 2 * self._half  # SYN and SYN-ACK
        there_reader, there_writer = await asyncio.open_connection("localhost", self._port)
        await asyncio.gather(self._pass(reader, there_writer, opened), self._pass(there_reader, writer, 0.0))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, since: float) -> None:
        loop = asyncio.get_running_loop()
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                loop.call_at(max(loop.time(), since) + self._half, writer.write, data)
        loop.call_at(max(loop.time(), since) + self._half, writer.close)


async def relay(port: int, links: list[float]) -> None:
    servers = [await asyncio.start_server(Link(port, link), "localhost", 0, backlog=1024) for link in links]
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


# --- who calls; each imports what it needs, since a new process is timed with its imports


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
            async with session.post(base + PATH, json=PROOF) as response:
                await response.json()

        yield call


@asynccontextmanager
async def httpx_default(base: str, trust: ssl.SSLContext) -> AsyncIterator[Call]:
    import httpx

    async with httpx.AsyncClient(verify=trust) as client:

        async def call() -> None:
            (await client.post(base + PATH, json=PROOF)).json()

        yield call


@asynccontextmanager
async def official(base: str, _: ssl.SSLContext) -> AsyncIterator[Call]:
    """What every method of the vendor's async client comes down to, with the certificate unchecked."""
    from descope.http_client_async import HTTPClientAsync

    async with HTTPClientAsync(PROJECT, base, secure=False) as client:

        async def call() -> None:
            (await client.post(PATH, body=dict(PROOF))).json()

        yield call


def candidates() -> dict[str, Client]:
    found: dict[str, Client] = {OURS: ours(), WARM: ours(keep_warm=True)}
    found["aiohttp"] = aiohttp_default
    if find_spec("httpx"):
        found["httpx"] = httpx_default
    if find_spec("descope"):
        found["official SDK"] = official
    return found


# --- what it takes


async def bare_round_trip(base: str, trust: ssl.SSLContext) -> float:
    """Seconds for the same request and answer over an open connection, by nobody's client."""
    body = json.dumps(PROOF).encode()
    request = b"POST %b HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (PATH.encode(), len(body), body)
    reader, writer = await asyncio.open_connection("localhost", int(base.rpartition(":")[2]), ssl=trust)
    seconds = []
    for _ in range(BARE):
        began = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.partition(b"Content-Length: ")[2].split(b"\r\n", 1)[0]))
        seconds.append(time.perf_counter() - began)
    writer.close()
    await writer.wait_closed()
    return sorted(seconds)[BARE // 2]


async def after_gaps(
    bases: dict[float, str], trust: ssl.SSLContext, gaps: tuple[float, ...], rounds: int
) -> list[dict[str, Any]]:
    cells = [
        (name, client, link, gap) for name, client in candidates().items() for link in bases for gap in gaps
    ]
    # The longest gaps first: the others come while these idle.
    turns = sorted(range(len(cells)), key=lambda index: -cells[index][3]) * rounds
    seconds: list[list[float]] = [[] for _ in cells]

    async def measure(number: int, index: int, call: Call) -> None:
        await asyncio.sleep(number * SPACING)
        await call()
        await asyncio.sleep(cells[index][3])
        began = time.perf_counter()
        await call()
        seconds[index].append(time.perf_counter() - began)

    async with AsyncExitStack() as stack:
        round_trips = {link: await bare_round_trip(base, trust) for link, base in bases.items()}
        calls = []  # all are there before the first is timed: making one may hold up the loop
        for index in turns:
            _, client, link, _ = cells[index]
            calls.append(await stack.enter_async_context(client(bases[link], trust)))
        measuring = [measure(number, *turn) for number, turn in enumerate(zip(turns, calls, strict=True))]
        await asyncio.gather(*measuring)
    return [
        {
            "client": name,
            "link": link,
            "round_trip": round_trips[link],
            "gap": gap,
            "round_trips": sorted(took / round_trips[link] for took in each),
        }
        for (name, _, link, gap), each in zip(cells, seconds, strict=True)
    ]


def in_a_new_process(
    bases: dict[float, str], round_trips: dict[float, float], certificate: Path, rounds: int
) -> list[dict[str, Any]]:
    """Seconds from the start of a process to its first answer, and how many of them are the call's."""
    lines: list[dict[str, Any]] = []
    for link, base in bases.items():
        taken: dict[str, list[list[float]]] = {name: [] for name in candidates()}
        for _ in range(rounds):
            for name, each in taken.items():
                command = [sys.executable, "-m", "benchmarks.felt", "--first", name, base, str(certificate)]
                command.append(str(time.monotonic()))
                output = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
                each.append([float(word) for word in output.split()])
        for name, each in taken.items():
            total, call = (sorted(column) for column in zip(*each, strict=True))
            of_call = [seconds / round_trips[link] for seconds in call]
            lines.append({"client": name, "link": link, "seconds": total, "round_trips": of_call})
    return lines


async def first_call(name: str, base: str, certificate: str, started: float) -> None:
    trust = ssl.create_default_context(cafile=certificate)
    async with candidates()[name](base, trust) as call:
        began = time.monotonic()
        await call()
        ended = time.monotonic()
    print(ended - started, ended - began)


def felt(settings: "Settings") -> "list[Ratio]":
    import trustme

    from benchmarks.answer import answer, as_body
    from benchmarks.server import running

    links, gaps, rounds = (
        (LINKS[:1], (0, 0.2), 1) if settings.quick else (LINKS, GAPS, settings.rounds(ROUNDS))
    )
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
        print(f"felt: idle for {max(gaps):g} s", file=sys.stderr, flush=True)
        lines = asyncio.run(after_gaps(bases, trust, gaps, rounds))
        round_trips = {line["link"]: line["round_trip"] for line in lines}
        first = in_a_new_process(bases, round_trips, Path(root), rounds)
    print(table(lines, first), end="\n\n")
    settings.report.update(felt=lines, first=first)
    return goals(lines, first)


def goals(lines: list[dict[str, Any]], first: list[dict[str, Any]]) -> "list[Ratio]":
    """The worst median of each promise, for each link."""
    from statistics import median

    from benchmarks.measure import Ratio

    def worst(measure: str, link: float, cells: list[list[float]]) -> Ratio:
        low, value, high = min(map(median, cells)), max(map(median, cells)), max(map(max, cells))
        name = f"round trips of {link * 1000:g} ms, {measure}"
        return Ratio("felt", name, value, low, high, 1.1, "<=", {}, "round trips")

    def of(client: str, link: float, longest: float) -> list[list[float]]:
        of_client = [each for each in lines if (each["client"], each["link"]) == (client, link)]
        return [each["round_trips"] for each in of_client if each["gap"] <= longest]

    ratios = []
    for new in first:
        if new["client"] == WARM:
            link = new["link"]
            ratios += [
                worst(f"idle up to {MOST_BY_DEFAULT} s", link, of(OURS, link, MOST_BY_DEFAULT)),
                worst("idle up to 120 s, `keep_warm`", link, of(WARM, link, 120)),
                worst("first call of a process, `keep_warm`", link, [new["round_trips"]]),
            ]
    return ratios


def table(lines: list[dict[str, Any]], first: list[dict[str, Any]]) -> str:
    from statistics import median

    gaps = sorted({line["gap"] for line in lines})
    titles = [f"{gap:g} s" for gap in gaps]
    rows = [["round trips of", "client", *titles, "first", "with imports"]]
    for link in sorted({line["link"] for line in lines}):
        for name in dict.fromkeys(line["client"] for line in lines):
            cells = {line["gap"]: line for line in lines if (line["link"], line["client"]) == (link, name)}
            (new,) = (line for line in first if (line["link"], line["client"]) == (link, name))
            rows.append([f"{link * 1000:g} ms", name])
            rows[-1] += [f"{median(cells[gap]['round_trips']):.2f}" for gap in gaps]
            rows[-1] += [f"{median(new['round_trips']):.2f}", f"{median(new['seconds']):.3f} s"]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--relay", port, *links]:
            asyncio.run(relay(int(port), [float(link) for link in links]))
        case ["--first", name, base, certificate, started]:
            asyncio.run(first_call(name, base, certificate, float(started)))
        case _:
            from benchmarks.measure import main

            main(felt)
