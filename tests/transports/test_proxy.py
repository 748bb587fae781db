"""An explicit HTTP proxy: a real one, and raw servers for what a real one would not do."""

import asyncio
import base64
import importlib.util
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from kit.certs import Authority
from kit.servers import (
    TOKEN,
    Connection,
    Script,
    Server,
    answering,
    forward,
    relay,
    serve,
    session,
    unused_port,
)
from kit.support import APPLE, CODE, PROJECT

import descope_native
from descope_native import (
    ConnectError,
    DescopeNativeError,
    FinishResult,
    NativeOAuthFinisher,
    Outcome,
    RequestTimeout,
    TLSError,
)
from descope_native.transports.aiohttp import AiohttpTransport

AUTHORITY = Authority()
GOOD = AUTHORITY.certify()
KEY = "canary-key-91b7d0"
PASSWORD = "canary-password-5e2a8c"
USER = "usher"

needs_proxy = pytest.mark.skipif(
    importlib.util.find_spec("proxy") is None,
    reason="the proxy program is not installed: pip install proxy.py",
)

PROGRAM = """
import sys, proxy
with proxy.Proxy(sys.argv[1:], port=0) as running:
    print(running.flags.port, flush=True)
    sys.stdin.read()
"""


@contextmanager
def proxy_program(directory: Path, *options: str) -> Iterator[int]:
    """proxy.py in a process of its own; its port."""
    common = ["--num-workers", "1", "--num-acceptors", "1", "--data-dir", str(directory), "--log-level", "E"]
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *common, *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=directory,
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        try:
            yield int(program.stdout.readline())
        finally:
            program.stdin.close()  # which ends it
            program.wait(timeout=20)


@pytest.fixture(scope="module")
def open_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with proxy_program(tmp_path_factory.mktemp("proxy")) as port:
        yield port


@pytest.fixture(scope="module")
def guarded_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with proxy_program(tmp_path_factory.mktemp("proxy"), "--basic-auth", f"{USER}:{PASSWORD}") as port:
        yield port


@asynccontextmanager
async def finisher(url: str, proxy: str | None, **options: Any) -> AsyncIterator[NativeOAuthFinisher]:
    context = AUTHORITY.client_context()
    async with AiohttpTransport.open(ssl=context, proxy=proxy, **options) as transport:
        yield NativeOAuthFinisher(PROJECT, transport, base_url=url, auth_management_key=KEY, timeout=5)


async def finish(url: str, proxy: str | None, **options: Any) -> FinishResult:
    async with finisher(url, proxy, **options) as finishing:
        return await finishing.finish(**APPLE)


async def failure(url: str, proxy: str, **options: Any) -> DescopeNativeError:
    with pytest.raises(DescopeNativeError) as caught:
        await finish(url, proxy, **options)
    error = caught.value
    assert error.__cause__ is None
    assert error.__context__ is None
    assert PASSWORD not in f"{error!r} {error}"
    return error


def assert_no_tunnel(error: DescopeNativeError, words: str, *, safe_to_retry: bool) -> None:
    assert type(error) is ConnectError
    assert error.reason == "proxy"
    assert error.outcome is Outcome.NOT_SENT
    assert error.safe_to_retry is safe_to_retry
    assert words in str(error)


def assert_nothing_but_a_tunnel(seen: bytes, origin: Server) -> None:
    """The proxy was told where to, and the rest was not readable."""
    head, _, rest = seen.partition(b"\r\n\r\n")
    assert head.startswith(f"CONNECT localhost:{origin.port} HTTP/1.1\r\n".encode())
    assert rest.startswith(b"\x16\x03"), "not a TLS record"
    for secret in (b"Bearer", PROJECT.encode(), KEY.encode(), CODE.encode()):
        assert secret not in seen


@needs_proxy
async def test_a_call_goes_through_a_tunnel(open_proxy: int) -> None:
    """The origin sees the request, the proxy only where it goes."""
    async with serve(answering(), GOOD.server_context()) as origin, serve(relay(open_proxy)) as proxy:
        result = await finish(origin.url("https"), proxy.url())
    assert result.session_jwt == TOKEN
    assert origin.received.count(CODE.encode()) == 1
    assert f"Authorization: Bearer {PROJECT}:{KEY}".encode() in origin.received
    assert_nothing_but_a_tunnel(proxy.received, origin)


@needs_proxy
async def test_a_tunnel_is_used_again(open_proxy: int) -> None:
    """The second call needs neither another CONNECT nor another handshake."""
    async with (
        serve(answering(), GOOD.server_context()) as origin,
        serve(relay(open_proxy)) as proxy,
        finisher(origin.url("https"), proxy.url()) as finishing,
    ):
        for _ in range(2):
            await finishing.finish(**APPLE)
    assert proxy.received.count(b"CONNECT ") == len(origin.connections) == 1
    assert origin.received.count(CODE.encode()) == 2


@needs_proxy
async def test_a_tunnel_that_has_died_is_replaced(open_proxy: int) -> None:
    """Before anything is sent into it, so that its caller does not even notice."""

    async def once(connection: Connection) -> None:
        await connection.request()
        connection.send(session())
        connection.finish()

    async with (
        serve(once, GOOD.server_context()) as origin,
        serve(relay(open_proxy)) as proxy,
        finisher(origin.url("https"), proxy.url()) as finishing,
    ):
        for _ in range(3):
            assert (await finishing.finish(**APPLE)).session_jwt == TOKEN
            await proxy.all_gone()  # the tunnel's end has come this far
    assert proxy.received.count(b"CONNECT ") == len(origin.connections) == 3
    assert origin.received.count(CODE.encode()) == 3


@needs_proxy
async def test_a_proxy_that_wants_a_password_gets_it_and_nobody_else_does(guarded_proxy: int) -> None:
    """The credentials end at the proxy; the origin hears nothing of them."""
    async with serve(answering(), GOOD.server_context()) as origin, serve(relay(guarded_proxy)) as proxy:
        result = await finish(origin.url("https"), f"http://{USER}:{PASSWORD}@localhost:{proxy.port}")
    assert result.session_jwt == TOKEN
    in_base64 = base64.b64encode(f"{USER}:{PASSWORD}".encode())
    assert b"Proxy-Authorization: Basic " + in_base64 in proxy.received
    assert_nothing_but_a_tunnel(proxy.received, origin)
    for secret in (b"Proxy-Authorization", in_base64, PASSWORD.encode(), USER.encode()):
        assert secret not in origin.received


def tunnelling(origin: Server, seen: list[bytes]) -> Script:
    """A proxy that takes whoever comes, and keeps what it was told."""

    async def script(connection: Connection) -> None:
        seen.append(await connection.request())
        await forward(connection, origin.port, b"HTTP/1.1 200 OK\r\n\r\n")

    return script


@pytest.mark.parametrize(
    ("credentials", "told"),
    [
        ("us:pa", "us:pa"),
        ("us", "us:"),
        (":pa", ":pa"),
        ("us:p%40%3A%2F", "us:p@:/"),
        ("us:pä€", "us:pä€"),
        ("us:", "us:"),
        ("", None),
    ],
)
async def test_a_password_stands_in_the_header_of_connect(credentials: str, told: str | None) -> None:
    """Once, in UTF-8 as RFC 7617 would have it, and the tunnel is used again."""
    seen: list[bytes] = []
    async with (
        serve(answering(), GOOD.server_context()) as origin,
        serve(tunnelling(origin, seen)) as proxy,
        finisher(origin.url("https"), f"http://{credentials}@localhost:{proxy.port}/path") as finishing,
    ):
        for _ in range(3):
            assert (await finishing.finish(**APPLE)).session_jwt == TOKEN
    (head,) = seen
    assert head.count(b"Proxy-Authorization") == (told is not None)
    if told is not None:
        assert b"Proxy-Authorization: Basic " + base64.b64encode(told.encode()) + b"\r\n" in head
    assert b"\r\nAuthorization" not in head
    assert b"Proxy-Authorization" not in origin.received


async def test_two_who_know_one_proxy_do_not_share_a_tunnel() -> None:
    """Over one borrowed session: a tunnel belongs to those who told its proxy the same."""
    seen: list[bytes] = []
    async with (
        serve(answering(), GOOD.server_context()) as origin,
        serve(tunnelling(origin, seen)) as proxy,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=AUTHORITY.client_context())) as session,
    ):
        for user in ("one", "two", "one", "two"):
            url = f"http://{user}:{PASSWORD}@localhost:{proxy.port}"
            finishing = NativeOAuthFinisher(
                PROJECT, AiohttpTransport(session, proxy=url), base_url=origin.url("https")
            )
            await finishing.finish(**APPLE)
    assert [b"b25l" in head for head in seen] == [True, False]


ENDING = """
import asyncio, gc, logging, sys, warnings
from descope_native import AiohttpTransport, NativeOAuthFinisher
if sys.argv[1] == "uvloop":
    from uvloop import new_event_loop
else:
    from asyncio import new_event_loop

logging.basicConfig(level=0)
warnings.simplefilter("always")

async def begin(proxy, code, key):
    global opening
    opening = AiohttpTransport.open(proxy=proxy)
    transport = await opening.__aenter__()
    url = "https://localhost:1"
    finisher = NativeOAuthFinisher("P2project", transport, base_url=url, auth_management_key=key)
    proof = {"provider": "google", "state_id": code, "code": code}
    calls = [asyncio.ensure_future(finisher.finish(**proof)) for _ in range(3)]
    await asyncio.to_thread(sys.stdin.readline)
    print(repr(calls), repr(transport), repr(vars(transport)), file=sys.stderr)

loop = new_event_loop()
loop.set_debug("debug" in sys.argv)
loop.run_until_complete(begin(*sys.stdin.readline().split()))
loop.close()
del loop, opening
for _ in range(3):
    gc.collect()
"""


@pytest.mark.parametrize("debug", ["", "debug"])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_a_loop_that_ends_with_calls_in_flight_shows_no_secret(loop: str, debug: str) -> None:
    """Python and aiohttp complain of what is left; no text of theirs has a secret in it."""
    if loop == "uvloop":
        pytest.importorskip("uvloop")

    async def silent(connection: Connection) -> None:
        await connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\n\r\n")
        await connection.gone()

    async with asyncio.timeout(30), serve(silent) as proxy:
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", ENDING, loop, debug),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        assert program.stdin is not None
        program.stdin.write(f"http://{USER}:{PASSWORD}@localhost:{proxy.port} {CODE} {KEY}\n".encode())
        while proxy.received.count(b"Proxy-Authorization") < 3:
            await asyncio.sleep(0.01)
        said, _ = await program.communicate(b"go on\n")
    assert b"Task was destroyed but it is pending" in said
    encoded = base64.b64encode(f"{USER}:{PASSWORD}".encode())
    for secret in (USER.encode(), PASSWORD.encode(), encoded, CODE.encode(), KEY.encode()):
        assert secret not in said


@needs_proxy
async def test_a_call_cancelled_within_a_tunnel_shows_no_password(guarded_proxy: int) -> None:
    """A connection knows its proxy's URL, so none is among the locals of our frames."""
    proxy = f"http://{USER}:{PASSWORD}@localhost:{guarded_proxy}"
    async with (
        serve(Connection.gone, GOOD.server_context()) as origin,
        finisher(origin.url("https"), proxy) as finishing,
    ):
        call = asyncio.create_task(finishing.finish(**APPLE))
        while CODE.encode() not in origin.received:  # cancelling earlier shows less
            await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError) as cancelled:
            await call
    ours = [
        frame
        for frame, _ in traceback.walk_tb(cancelled.value.__traceback__)
        if frame.f_code.co_filename.startswith(str(Path(descope_native.__file__).parent))
    ]
    assert "_converse" in {frame.f_code.co_name for frame in ours}
    for frame in ours:
        for secret in (PASSWORD, KEY, CODE):
            assert secret not in repr(frame.f_locals)


@needs_proxy
@pytest.mark.parametrize("credentials", ["", f"{USER}:wrong-{PASSWORD}@"], ids=["none", "wrong"])
async def test_a_proxy_that_does_not_know_us_would_not_know_us_again(
    guarded_proxy: int, credentials: str
) -> None:
    """407: nothing was sent, and sending it again would not help; nobody reads the password anywhere."""
    async with serve(answering(), GOOD.server_context()) as origin, serve(relay(guarded_proxy)) as proxy:
        error = await failure(origin.url("https"), f"http://{credentials}localhost:{proxy.port}")
    assert_no_tunnel(error, f"the proxy localhost:{proxy.port} answered 407 to CONNECT", safe_to_retry=False)
    assert origin.received == b""
    assert CODE.encode() not in proxy.received


@needs_proxy
async def test_a_proxy_that_cannot_reach_the_origin_may_be_asked_again(open_proxy: int) -> None:
    """The real program's answer to an origin that refuses it."""
    error = await failure(f"https://localhost:{unused_port()}", f"http://localhost:{open_proxy}")
    assert_no_tunnel(error, "to CONNECT", safe_to_retry=True)


@needs_proxy
async def test_a_wrong_certificate_is_refused_within_a_tunnel_too(open_proxy: int) -> None:
    """A proxy changes nothing about who the other side has to be."""
    elsewhere = AUTHORITY.certify("elsewhere.example").server_context()
    async with serve(answering(), elsewhere) as origin:
        error = await failure(origin.url("https"), f"http://localhost:{open_proxy}")
    assert type(error) is TLSError
    assert not error.safe_to_retry
    assert origin.received == b""


@needs_proxy
async def test_a_connection_lost_before_the_tunnels_handshake_ends_was_never_used(open_proxy: int) -> None:
    """As without a proxy: a reset, and another try is worth it."""

    async def reset(connection: Connection) -> None:
        await connection.arrived(1)
        connection.reset()

    async with serve(reset) as origin:
        error = await failure(origin.url("https"), f"http://localhost:{open_proxy}")
    assert type(error) is ConnectError
    assert error.outcome is Outcome.NOT_SENT
    assert error.safe_to_retry
    assert CODE.encode() not in origin.received


@needs_proxy
async def test_a_proxy_may_be_spoken_to_over_tls(open_proxy: int) -> None:
    """A handshake with the proxy, and within it the one with the origin."""
    context = GOOD.server_context()
    async with serve(answering(), context) as origin, serve(relay(open_proxy), context) as proxy:
        result = await finish(origin.url("https"), proxy.url("https"))
    assert result.session_jwt == TOKEN
    assert_nothing_but_a_tunnel(proxy.received, origin)


async def test_plain_http_does_not_go_through_a_proxy() -> None:
    """Not even to loopback: there is no tunnel for it, and the proxy would read the key and the code."""
    async with serve(answering()) as origin, serve(answering()) as proxy:
        error = await failure(origin.url(), proxy.url())
    assert_no_tunnel(error, "plain http does not go through a proxy", safe_to_retry=False)
    assert error.args[1] == "plain http does not go through a proxy, which could read it"
    assert origin.received == proxy.received == b""


async def test_a_proxy_that_is_not_there_may_be_asked_again() -> None:
    """Refused: nobody was reached, and somebody may be there in a second."""
    port = unused_port()
    async with serve(answering(), GOOD.server_context()) as origin:
        error = await failure(origin.url("https"), f"http://{USER}:{PASSWORD}@localhost:{port}")
    assert_no_tunnel(error, f"the proxy localhost:{port} could not be reached", safe_to_retry=True)
    assert origin.received == b""


class Unresolved(AbstractResolver):
    """Knows no host, or knows each and has no address for it."""

    def __init__(self, failure: OSError | None) -> None:
        self.asked: list[str] = []
        self._failure = failure

    async def resolve(self, host: str, *_: Any, **__: Any) -> list[ResolveResult]:
        self.asked.append(host)
        if self._failure is not None:
            raise self._failure
        return []

    async def close(self) -> None:
        """Nothing to close."""


@pytest.mark.parametrize(
    ("unresolved", "words"),
    [(OSError("no such host"), "could not be resolved"), (None, "resolved to nothing")],
    ids=["unknown", "no address"],
)
async def test_a_proxys_name_that_does_not_resolve_is_not_the_services(
    unresolved: OSError | None, words: str
) -> None:
    """Only the proxy's name is looked up, so only that can be wrong, and the text has it."""
    resolver = Unresolved(unresolved)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=resolver)) as session:
        transport = AiohttpTransport(session, proxy=f"http://{USER}:{PASSWORD}@proxy.example:3128")
        with pytest.raises(ConnectError) as caught:
            await NativeOAuthFinisher(PROJECT, transport).finish(**APPLE)
    words = f"the name of the proxy proxy.example:3128 {words}"
    assert_no_tunnel(caught.value, words, safe_to_retry=True)
    assert PASSWORD not in f"{caught.value!r} {caught.value}"
    assert resolver.asked == ["proxy.example"]


async def test_a_proxys_wrong_certificate_is_not_the_services() -> None:
    """It is looked at first, and the text says whose it is."""
    elsewhere = AUTHORITY.certify("elsewhere.example").server_context()
    async with serve(answering(), elsewhere) as proxy:
        error = await failure("https://localhost:1", proxy.url("https"))
        assert type(error) is TLSError
        assert f", at the proxy localhost:{proxy.port} [" in str(error)


def saying(text: bytes) -> Script:
    async def script(connection: Connection) -> None:
        await connection.request()
        connection.send(text)
        connection.finish()

    return script


async def reset(connection: Connection) -> None:
    await connection.request()
    connection.reset()


@pytest.mark.parametrize(
    ("script", "words", "safe_to_retry"),
    [
        pytest.param(saying(b"HTTP/1.1 502 Bad Gateway\r\n\r\n"), "answered 502", True, id="502"),
        pytest.param(
            saying(b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"), "answered 503", True, id="503"
        ),
        pytest.param(saying(b"HTTP/1.1 403 No\r\n\r\n"), "answered 403", False, id="403"),
        pytest.param(
            saying(b"HTTP/1.1 302 No\r\nLocation: http://x/\r\n\r\n"), "answered 302", False, id="302"
        ),
        pytest.param(saying(b"what?\r\n\r\n"), "did not open a tunnel", False, id="garbage"),
        pytest.param(saying(b"HTTP/1.1 200"), "did not open a tunnel", False, id="half a head"),
        pytest.param(saying(b""), "did not open a tunnel", False, id="FIN"),
        pytest.param(reset, "did not open a tunnel", False, id="RST"),
    ],
)
async def test_a_proxy_that_opens_no_tunnel_is_named(script: Script, words: str, safe_to_retry: bool) -> None:
    """Whatever it says instead: nothing was sent; only a passing fault of its own is worth another try."""
    async with serve(script) as proxy:
        error = await failure("https://localhost:1", f"http://{USER}:{PASSWORD}@localhost:{proxy.port}")
    assert_no_tunnel(error, words, safe_to_retry=safe_to_retry)
    assert CODE.encode() not in proxy.received
    assert KEY.encode() not in proxy.received
    assert proxy.received.count(b"CONNECT ") == 1, "asked once"


@pytest.mark.parametrize("words", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])
async def test_a_proxy_that_stalls_runs_into_the_connect_timeout(words: bytes) -> None:
    """At CONNECT or in the handshake behind it, the phase is the same."""

    async def stall(connection: Connection) -> None:
        await connection.request()
        connection.send(words)
        await connection.gone()

    async with serve(stall) as proxy:
        error = await failure("https://localhost:1", proxy.url(), connect_timeout=0.1)
    assert type(error) is RequestTimeout
    assert error.phase == "connect"
    assert error.safe_to_retry
    assert CODE.encode() not in proxy.received


async def test_the_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only who is named as an argument gets to see where calls go."""
    async with serve(answering()) as proxy, serve(answering(), GOOD.server_context()) as origin:
        for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url())
        result = await finish(origin.url("https"), None)
    assert result.session_jwt == TOKEN
    assert proxy.received == b""


@pytest.mark.parametrize(
    "proxy",
    [f"ftp://{USER}:{PASSWORD}@h/", f"http://{USER}:{PASSWORD}@h:99999/", f"http://a%3Ab:{PASSWORD}@h/"],
    ids=["scheme", "port", "colon"],
)
async def test_an_address_that_is_no_proxy_is_refused_without_a_word_about_it(proxy: str) -> None:
    """It holds a password."""
    error = await failure("https://localhost:1", proxy)
    assert str(error) == "proxy must be an absolute http or https URL"
