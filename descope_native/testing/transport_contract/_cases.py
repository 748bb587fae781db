"""The cases, one function each. The name is the claim and the docstring says it in a sentence."""

import asyncio
import functools
import gzip
import logging
import os
import time
import warnings
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from descope_native.errors import (
    ConnectError,
    ConnectionLost,
    DescopeNativeError,
    Outcome,
    RequestTimeout,
    TLSError,
    TransportClosed,
    TransportError,
    UnexpectedResponse,
)
from descope_native.testing.transport_contract._kit import (
    BEARER,
    CODE,
    GRACE,
    Call,
    Kit,
    echo,
    eventually,
    number_in,
    require,
    session_of,
)
from descope_native.testing.transport_contract._servers import (
    SESSION,
    Connection,
    Script,
    answer,
    authority,
    chunked,
    serve,
    unused_port,
)
from descope_native.transports import HttpResponse, Transport

Body = Callable[[Kit], Awaitable[None]]

ALL: Final[list[tuple[Body, tuple[str, ...]]]] = []
"""Each case, and what a transport must have promised to be asked for it."""

_SHORT: Final = 0.25
"""Seconds of a deadline that is there to pass."""

_MORE_THAN_ANY_LIMIT: Final = 16 * 1024 * 1024

_PIECE: Final = b" " * 65536
_FLOODS: Final[dict[str, tuple[str, bytes, bytes]]] = {
    "in chunks": ("Transfer-Encoding: chunked", b"%x\r\n%s\r\n" % (len(_PIECE), _PIECE), b"0\r\n\r\n"),
    "of a known length": (f"Content-Length: {_MORE_THAN_ANY_LIMIT}", _PIECE, b""),
    "to the end of the connection": ("Connection: close", _PIECE, b""),
}
"""For each way to say where a body ends: the header, a piece of the body, and what comes after the last."""


def _case(*promised: str) -> Callable[[Body], Body]:
    def register(body: Body) -> Body:
        ALL.append((body, promised))
        return body

    return register


def _after_request(act: Callable[[Connection], object]) -> Script:
    """Reads a request, does this, and waits until the client has gone."""

    async def script(connection: Connection) -> None:
        while await connection.request():
            result = act(connection)
            if isinstance(result, Awaitable):
                await result

    return script


def _saying(data: bytes) -> Script:
    return _after_request(lambda connection: connection.send(data))


# --- what goes out


@_case()
async def the_request_arrives_as_it_was_made(kit: Kit) -> None:
    """Method, path, headers and body are those of the request, with a length and no cookie added."""
    headers = {"X-Odd": 'a,b; c="d"', "Accept-Encoding": "identity", "User-Agent": "contract/1"}
    async with serve(echo) as server, kit.transport() as transport:
        call = await kit.call(transport, server, more="v1/%7Ea%2Fb/~c", headers=headers)
        call.require_own_answer()
        head, _, body = server.received.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        require(
            first == f"POST /call-{call.number}/v1/%7Ea%2Fb/~c HTTP/1.1",
            "method or path is not that of the request",
        )
        sent = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        for name, value in call.request.headers.items():
            values = [each for key, each in sent if key == name.lower()]
            require(values == [value], f"the header {name} arrived {len(values)} times, or changed")
        names = [name for name, _ in sent]
        require(dict(sent).get("host") == f"localhost:{server.port}", "the Host header is not the URL's")
        require(names.count("content-length") == 1, "there is not one Content-Length")
        require("cookie" not in names, "a cookie was sent")
        require(body == call.request.body, "the body is not that of the request")


@_case()
async def a_large_request_arrives_whole(kit: Kit) -> None:
    """More than sockets buffer, to a server that reads it with its answer pending."""
    async with serve(echo) as server, kit.transport() as transport:
        call = await kit.call(transport, server, body=b"{}" + b" " * 1_000_000)
        call.require_own_answer()
        require(server.received.endswith(call.request.body), "the body did not arrive whole")


@_case()
async def calls_at_once_get_their_own_answers(kit: Kit) -> None:
    """Twenty at a time, answered in another order than they came."""

    async def shuffled(connection: Connection) -> None:
        while request := await connection.request():
            await asyncio.sleep(number_in(request) * 7 % 20 / 2000)
            connection.send(answer(200, session_of(number_in(request))))

    async with serve(shuffled) as server, kit.transport() as transport:
        for call in await asyncio.gather(*(kit.call(transport, server) for _ in range(20))):
            call.require_own_answer()


@_case()
async def tls_is_spoken_to_who_proves_to_be_there(kit: Kit) -> None:
    """With the certificate authority that the kit hands over."""
    async with serve(echo, authority().server_context()) as server, kit.transport() as transport:
        for _ in range(2):
            (await kit.call(transport, server)).require_own_answer()


# --- what comes back


@_case()
async def every_status_is_an_answer(kit: Kit) -> None:
    """Whatever its status, an answer is returned, with its headers and its body."""
    for status in (200, 201, 300, 400, 401, 403, 404, 407, 408, 409, 421, 425, 429, 499, 500, 502, 503, 520):
        async with serve(_saying(answer(status, b'{"a": 1}', "X-Odd: yes"))) as server:
            async with kit.transport() as transport:
                call = await kit.call(transport, server)
            require(
                call.answer is not None and (call.answer.status, call.answer.body) == (status, b'{"a": 1}'),
                f"an answer of status {status} was not returned as it came: {call.end}",
            )
            require(call.headers("x-odd") == ["yes"], "a header of an answer was lost")


@_case()
async def an_answer_without_a_body_is_one(kit: Kit) -> None:
    """A 204, and a body of no bytes."""
    for data in (b"HTTP/1.1 204 No Content\r\n\r\n", answer(429, b"")):
        async with serve(_saying(data)) as server, kit.transport() as transport:
            call = await kit.call(transport, server, timeout=2)
            require(call.answer is not None and call.answer.body == b"", f"no empty answer: {call.end}")


@_case()
async def lines_of_one_name_stay_apart(kit: Kit) -> None:
    """Two Set-Cookie lines are two headers: joined by a comma they cannot be told apart again."""
    cookies = ["DS=a; Expires=Wed, 21 Oct 2026 07:28:00 GMT; Path=/", "DSR=b; Path=/"]
    lines = [f"Set-Cookie: {cookie}" for cookie in cookies]
    async with serve(_saying(answer(200, SESSION, *lines))) as server, kit.transport() as transport:
        call = await kit.call(transport, server)
        require(call.headers("set-cookie") == cookies, "two Set-Cookie lines did not stay two")


@_case()
async def a_body_is_handed_over_as_it_came(kit: Kit) -> None:
    """With the space around it. No content coding is undone: what is small on the wire may be a gigabyte."""
    bomb = gzip.compress(b" " * 5_000_000)
    for body, lines in ((b"\r\n " + bytes(range(256)) + b" \r\n", []), (bomb, ["Content-Encoding: gzip"])):
        async with serve(_saying(answer(200, body, *lines))) as server, kit.transport() as transport:
            call = await kit.call(transport, server)
            require(call.answer is not None and call.answer.body == body, f"a body was changed: {call.end}")


@_case()
async def bodies_end_where_they_say(kit: Kit) -> None:
    """In chunks, in pieces, by the end of the connection, and after interim answers."""

    async def in_pieces(connection: Connection) -> None:
        for byte in answer(200, SESSION):
            connection.send(bytes([byte]))
            await asyncio.sleep(0)

    def until_the_end(connection: Connection) -> None:
        connection.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + SESSION)
        connection.finish()

    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    in_chunks = chunked(SESSION[:7], SESSION[7:]) + b"0\r\n\r\n"
    ways = {
        "in chunks": _saying(in_chunks),
        "in chunks, with a capital": _saying(in_chunks.replace(b"chunked", b"Chunked")),  # RFC 9112 §7
        "in pieces": _after_request(in_pieces),
        "to the end of the connection": _after_request(until_the_end),
        "after interim answers": _saying(hints * 3 + answer(200, SESSION)),
    }
    for way, script in ways.items():
        async with serve(script) as server, kit.transport() as transport:
            call = await kit.call(transport, server)
            require(call.answer is not None and call.answer.body == SESSION, f"a body {way}: {call.end}")


@_case()
async def redirects_are_not_followed(kit: Kit) -> None:
    """A 3xx is an answer; following it would hand the code to somebody else."""
    async with serve(echo) as other, kit.transport() as transport:
        for status in (301, 302, 303, 307, 308):
            async with serve(_saying(answer(status, b"", f"Location: {other.url('/call-0/')}"))) as server:
                call = await kit.call(transport, server)
                require(not other.connections, f"a {status} was followed to another origin")
                require(
                    call.answer is not None and call.answer.status == status,
                    f"a {status} was not returned as it came: {call.end}",
                )


@_case()
async def cookies_are_not_kept(kit: Kit) -> None:
    """What one answer sets does not go out with the next request: it is another person's."""
    cookie = "Set-Cookie: DSR=refresh-of-somebody; Path=/"
    async with serve(_saying(answer(200, SESSION, cookie))) as server, kit.transport() as transport:
        for _ in range(2):
            await kit.call(transport, server)
        require(b"cookie:" not in server.received.lower(), "the cookie of an answer was sent with a request")


@_case()
async def nothing_is_sent_twice(kit: Kit) -> None:
    """Not when the connection is lost, fresh or reused, nor on any status that invites to it."""
    endings: dict[str, Callable[[Connection], None]] = {
        "a lost connection": Connection.finish,
        "a reset": Connection.reset,
    }
    for status in (401, 408, 421, 425, 429, 500, 502, 503):
        data = answer(status, b"", "Retry-After: 0", "WWW-Authenticate: Basic")
        endings[f"a {status}"] = functools.partial(Connection.send, data=data)
    for name, ending in endings.items():
        for good_before in (0, 1):
            says: Iterator[Callable[[Connection], None]] = iter(
                [*[functools.partial(Connection.send, data=answer())] * good_before, ending]
            )

            def act(connection: Connection, says: Iterator[Callable[[Connection], None]] = says) -> None:
                next(says, Connection.finish)(connection)

            async with serve(_after_request(act)) as server, kit.transport() as transport:
                for _ in range(good_before):
                    await kit.call(transport, server)
                call = await kit.call(transport, server)
                await asyncio.sleep(0.02)  # for what would go out late
                require(call.arrivals() == 1, f"after {name} one call was sent {call.arrivals()} times")


# --- what does not come whole


@_case()
async def an_answer_cut_at_any_byte_is_no_answer(kit: Kit) -> None:
    """A 2xx that is not whole raises; any other status counts with an empty body once its head is there."""
    for status in (200, 400):
        for data in (answer(status, SESSION), chunked(SESSION, status=status) + b"0\r\n\r\n"):
            head = data.index(b"\r\n\r\n") + 4
            cuts = iter(range(len(data)))

            def cut(connection: Connection, data: bytes = data, cuts: Iterator[int] = cuts) -> None:
                at = next(cuts, 0)
                connection.send(data[:at])
                (Connection.finish if at % 2 else Connection.reset)(connection)

            async with serve(_after_request(cut)) as server, kit.transport() as transport:
                for at in range(len(data)):
                    _require_cut(await kit.call(transport, server), status, at >= head, at)


def _require_cut(call: Call, status: int, has_head: bool, at: int) -> None:  # noqa: FBT001 -- one caller
    where = f"{at} bytes of a {status}, and then nothing"
    if call.answer is not None:
        require(has_head and status == 400, f"{where}, were taken for an answer")
        require(call.answer.body == b"", f"{where}: half a body was handed over")
        require(call.answer.status == 400, f"{where}: it became a {call.answer.status}")
    else:
        require(call.failed(ConnectionLost, UnexpectedResponse, TransportError), f"{where}: {call.end}")
        require(call.outcome is Outcome.UNKNOWN, f"{where}: {call.end}; the server has read it all")


@_case()
async def a_refusal_counts_without_its_body(kit: Kit) -> None:
    """Its status says enough: where the body is cut, endless or slower than the deadline, it is empty."""

    def cut(connection: Connection) -> None:
        connection.send(answer(400, b'{"errorCode": "E061301"}')[:-3])
        connection.finish()

    async def slow(connection: Connection) -> None:
        connection.send(chunked(status=400))
        while True:
            connection.send(b"1\r\n \r\n")
            await asyncio.sleep(0.01)

    ways: dict[str, tuple[Callable[[Connection], object], float]] = {
        "cut": (cut, 5.0),
        "slow": (slow, _SHORT),
    }
    ways |= {f"endless {framing}": (_flood(400, framing), 20.0) for framing in _FLOODS}
    for way, (act, timeout) in ways.items():
        async with serve(_after_request(act)) as server, kit.transport() as transport:
            call = await kit.call(transport, server, timeout=timeout)
            require(
                call.answer is not None and (call.answer.status, call.answer.body) == (400, b""),
                f"a 400 whose body is {way}: {call.end}",
            )


def _flood(status: int, framing: str) -> Callable[[Connection], object]:
    """Sends a body as fast as it is taken, and ends it beyond what anybody may keep."""
    header, piece, end = _FLOODS[framing]

    async def act(connection: Connection) -> None:
        connection.send(f"HTTP/1.1 {status} Whatever\r\n{header}\r\n\r\n".encode())
        for _ in range(_MORE_THAN_ANY_LIMIT // len(_PIECE)):  # what is sent to who has gone is dropped
            connection.send(piece)
            await connection.taken()
        connection.send(end)
        connection.finish()

    return act


@_case()
async def a_body_without_end_is_given_up(kit: Kit) -> None:
    """At the transport's own limit, long before memory is short, wherever the body is said to end."""
    for framing in _FLOODS:
        async with serve(_after_request(_flood(200, framing))) as server, kit.transport() as transport:
            call = await kit.call(transport, server, timeout=20)
            require(call.answer is None, f"a body of 16 MiB {framing} was read")
            require(call.failed(UnexpectedResponse), f"a body beyond any limit {framing}: {call.end}")


@_case()
async def a_head_without_end_is_given_up(kit: Kit) -> None:
    """One header line of megabytes."""

    head = b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 8_000_000 + b"\r\nContent-Length: 0\r\n\r\n"
    async with serve(_saying(head)) as server, kit.transport() as transport:
        call = await kit.call(transport, server, timeout=5)
        require(call.failed(TransportError, UnexpectedResponse), f"a header of 8 MiB: {call.end}")


@_case()
async def what_is_not_http_is_no_answer(kit: Kit) -> None:
    """Another protocol, a status line without a status, bad chunks, and two lengths that disagree."""
    two = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 46\r\n\r\n" + SESSION
    for what, data in {
        "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "no status": b"HTTP/1.1 OK\r\n\r\n",
        "a bad chunk": chunked(b"{}") + b"ZZ\r\n",
        "two lengths": two,
    }.items():
        async with serve(_saying(data)) as server, kit.transport() as transport:
            call = await kit.call(transport, server, timeout=2)
            require(call.failed(TransportError, UnexpectedResponse), f"{what}: {call.end}")
            require(call.outcome is Outcome.UNKNOWN, f"{what}: {call.end}; the server has read the request")


@_case("tells_bad_heads")
async def a_bad_head_is_told_at_once(kit: Kit) -> None:
    """Another protocol, a line beyond any limit, and a 101 that nobody asked for: not at the deadline."""
    for what, data, status in (
        ("another protocol", b"SSH-2.0-OpenSSH_9.2\r\n", 0),
        ("a status line of 64 KiB", b"HTTP/1.1 200 " + b"x" * 65536, 0),
        ("a 101", b"HTTP/1.1 101 Whatever\r\n\r\n", 101),
    ):
        async with serve(_saying(data)) as server, kit.transport() as transport:
            call = await kit.call(transport, server, timeout=5)
            found = call.answer or call.error
            require(
                isinstance(found, UnexpectedResponse | HttpResponse) and found.status == status,
                f"{what}: {call.end}, not UnexpectedResponse with status {status}",
            )


@_case("reads_while_sending")
async def a_refusal_is_taken_before_all_is_sent(kit: Kit) -> None:
    """A 413 to a request of which the server has read no more than the head."""

    async def script(connection: Connection) -> None:
        await connection.head()
        connection.transport.pause_reading()
        connection.send(answer(413))

    async with serve(script) as server, kit.transport() as transport:
        call = await kit.call(transport, server, body=b"{}" + b" " * 20_000_000, timeout=5)
        require(
            call.answer is not None and call.answer.status == 413,
            f"a 413 to a request that was half sent: {call.end}",
        )


# --- connections


@_case("reuses_connections")
async def connections_are_reused(kit: Kit) -> None:
    """Calls one after another need one connection, and one that died meanwhile is replaced."""
    async with serve(echo) as server, kit.transport() as transport:
        for _ in range(3):
            (await kit.call(transport, server)).require_own_answer()
        require(len(server.connections) == 1, f"three calls took {len(server.connections)} connections")
        for end in (Connection.finish, Connection.reset):
            end(server.connections[-1])
            await eventually(lambda: not server.open)
            (await kit.call(transport, server)).require_own_answer()


@_case()
async def what_nobody_asked_for_is_no_answer(kit: Kit) -> None:
    """A stray answer, whole or in part, with the answer before it or later, never goes to the next call."""
    stray = answer(200, b'{"sessionJwt": "session.of.somebody"}')
    for context in (None, authority().server_context()):
        for cut in (len(stray), 1, 20, len(stray) - 5):
            for is_behind in (True, False):
                rest = stray[cut:]

                async def script(
                    connection: Connection,
                    part: bytes = stray[:cut],
                    rest: bytes = rest,
                    is_behind: bool = is_behind,  # noqa: FBT001 -- bound, not passed
                ) -> None:
                    request = await connection.request()
                    good = answer(200, session_of(number_in(request)))
                    connection.send(good + part if is_behind else good)
                    if not is_behind:
                        await asyncio.sleep(0.01)
                        connection.send(part)
                    if await connection.request():
                        connection.send(rest)

                async with serve(script, context) as server, kit.transport() as transport:
                    first = await kit.call(transport, server)
                    first.require_own_answer()
                    await asyncio.sleep(0.02)
                    time.sleep(0.001)  # noqa: ASYNC251 -- so that the kernel has handed it over
                    second = await kit.call(transport, server, timeout=1)
                    require(
                        second.answer is None or second.answer.body == session_of(second.number),
                        "a call got an answer that came before its request was sent",
                    )


@_case("refuses_early_answers")
async def an_early_answer_is_not_taken(kit: Kit) -> None:
    """What a server says on a new connection, before any request, answers nothing."""

    async def script(connection: Connection) -> None:
        connection.send(answer(200, b'{"sessionJwt": "session.of.somebody"}'))
        await echo(connection)

    async with serve(script) as server, kit.transport() as transport:
        call = await kit.call(transport, server, timeout=2)
        require(
            call.answer is None or call.answer.body == session_of(call.number),
            "an answer was taken that had come before the request was sent",
        )


# --- time


@_case()
async def the_deadline_is_kept(kit: Kit) -> None:
    """Silence, a slow head, a slow body and endless interim answers end in a `RequestTimeout`, in time."""

    def dripping(first: bytes, drop: bytes) -> Callable[[Connection], object]:
        async def act(connection: Connection) -> None:
            connection.send(first)
            while True:
                connection.send(drop)
                await asyncio.sleep(0.01)

        return act

    ways: dict[str, Callable[[Connection], object]] = {
        "silence": lambda _: None,
        "half a head": lambda connection: connection.send(b"HTTP/1.1 200 OK\r\nContent-"),
        "half a body": lambda connection: connection.send(answer()[:-5]),
        "a slow head": dripping(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
        "a slow body": dripping(chunked(), b"1\r\n \r\n"),
        "interim answers": dripping(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
    }
    for way, act in ways.items():
        async with serve(_after_request(act)) as server, kit.transport() as transport:
            call = await kit.call(transport, server, timeout=_SHORT)
            require(call.failed(RequestTimeout), f"{way} until the deadline: {call.end}")
            require(call.outcome is Outcome.UNKNOWN, f"{way}: {call.end}; the server has read the request")


@_case()
async def the_deadline_holds_while_connecting(kit: Kit) -> None:
    """A server that takes a connection and never answers the TLS handshake."""
    async with serve(Connection.gone) as server, kit.transport() as transport:
        server.scheme = "https"
        call = await kit.call(transport, server, timeout=_SHORT)
        require(call.failed(RequestTimeout), f"silence in the TLS handshake: {call.end}")
        _require_proof(kit, call, "silence in the TLS handshake")


def _require_proof(kit: Kit, call: Call, what: str) -> None:
    require(
        call.outcome is Outcome.NOT_SENT or not kit.promises.can_prove_not_sent,
        f"{what}: {call.end}, though nothing can have been sent (can_prove_not_sent)",
    )


# --- failures


@_case()
async def nobody_there_is_told(kit: Kit) -> None:
    """A refused connection, and a name that does not exist."""
    refused = f"http://localhost:{unused_port()}"
    async with kit.transport() as transport:
        for what, url in {
            "a refused connection": refused,
            "an unknown name": "http://nobody.invalid",
        }.items():
            call = await kit.call(transport, url)
            kinds = (ConnectError, RequestTimeout) if kit.promises.can_prove_not_sent else (TransportError,)
            require(call.failed(*kinds), f"{what}: {call.end} (can_prove_not_sent)")
            _require_proof(kit, call, what)


@_case()
async def somebody_else_there_is_told(kit: Kit) -> None:
    """Nothing goes to a server whose certificate is for another host, has expired, or is of a stranger."""
    contexts = {
        "another host's": authority().server_context("elsewhere.example"),
        "an expired": authority().server_context(days=-1),
        "a stranger's": type(authority())().server_context(),
    }
    for whose, context in contexts.items():
        async with serve(echo, context) as server, kit.transport() as transport:
            call = await kit.call(transport, server)
            require(call.answer is None and not server.received, f"{whose} certificate was accepted")
            kinds = (TLSError,) if kit.promises.can_prove_not_sent else (TransportError,)
            require(call.failed(*kinds), f"{whose} certificate: {call.end}")
            _require_proof(kit, call, f"{whose} certificate")


@_case()
async def no_error_and_no_log_tells_a_secret(kit: Kit) -> None:
    """Neither the code, the bearer nor a token of the answer stands in an error, its causes, or the log."""
    canary = "canary-4b43b0aee35624cd95b910189b3dc231"
    secrets = (CODE, BEARER, canary)
    line = f"Set-Cookie: DS={canary}; Path=/"
    faults = {
        "a good answer": answer(200, SESSION, line),
        "no HTTP": f"{canary}\r\n\r\n".encode(),
        "a header that is none": f"HTTP/1.1 200 OK\r\n{canary}\r\n\r\n".encode(),
        "a bad chunk": chunked(canary.encode()) + canary.encode() + b"\r\n",
        "half a body": answer(200, canary.encode(), line)[:-3],
    }
    for what, data in faults.items():

        def act(connection: Connection, data: bytes = data) -> None:
            connection.send(data)
            connection.finish()

        async with serve(_after_request(act)) as server, kit.transport() as transport:
            with _listening() as said:
                call = await kit.call(transport, server, timeout=2)
        told = list(_texts(call.error))
        require(
            not any(secret in text for secret in secrets for text in told), f"{what}: an error tells a secret"
        )
        require(
            not any(secret in text for secret in secrets for text in said), f"{what}: a log tells a secret"
        )


def _texts(error: BaseException | None) -> Iterator[str]:
    while error is not None:
        yield from (str(error), repr(error), repr(error.args))
        error = error.__cause__ or error.__context__


class _Listener(logging.Handler):
    def __init__(self, said: list[str]) -> None:
        super().__init__()
        self._said = said

    def emit(self, record: logging.LogRecord) -> None:
        self._said.append(f"{record.getMessage()} {record.args}")


@contextmanager
def _listening() -> Generator[list[str]]:
    """Everything that anybody logs meanwhile, at any level."""
    said: list[str] = []
    root = logging.getLogger()
    handler = _Listener(said)
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield said
    finally:
        root.setLevel(level)
        root.removeHandler(handler)


# --- cancellation


@_case()
async def cancellation_passes_through_at_every_step(kit: Kit) -> None:
    """At once, whatever is being waited for; what is told of it is true; and the next call is unharmed."""
    for context in (None, authority().server_context()):
        async with serve(echo, context) as server, kit.transport() as transport:
            for step in range(24):
                call = kit.start(transport, server)
                for _ in range(step):
                    await asyncio.sleep(0 if step < 12 else 0.0004)
                await kit.cancel(call)
                (await kit.call(transport, server)).require_own_answer()


@_case()
async def cancellation_passes_through_while_waiting(kit: Kit) -> None:
    """In the handshake, before the answer, and within it; no connection is left that is half read."""

    async def half(connection: Connection) -> None:
        while request := await connection.request():
            good = answer(200, session_of(number_in(request)))
            connection.send(good if b"/good" in request else good[:-5])

    async def silent(connection: Connection) -> None:
        while request := await connection.request():
            if b"/good" in request:
                connection.send(answer(200, session_of(number_in(request))))

    for script in (half, silent):
        async with serve(script) as server, kit.transport() as transport:
            call = kit.start(transport, server)
            require(await eventually(call.has_arrived), "a request did not arrive")
            await asyncio.sleep(0.01)
            await kit.cancel(call)
            require(call.outcome is Outcome.UNKNOWN, "a call that has arrived was said not to have been sent")
            (await kit.call(transport, server, more="good")).require_own_answer()
    async with serve(Connection.gone) as server, kit.transport() as transport:
        server.scheme = "https"
        call = kit.start(transport, server)
        require(await eventually(lambda: bool(server.connections)), "nobody came")
        await kit.cancel(call)
        _require_proof(kit, call, "cancelled in the TLS handshake")
        require(await eventually(lambda: not server.open), "a cancelled call left its connection open")


# --- the end


@_case()
async def closing_ends_the_calls_in_flight(kit: Kit) -> None:
    """Without waiting for their deadlines; they fail, and are not cancelled."""
    async with serve(Connection.gone) as server:
        opened, transport = await kit.open()
        calls = [kit.start(transport, server, timeout=60) for _ in range(3)]
        require(
            await eventually(lambda: all(call.has_arrived() for call in calls)), "the requests did not arrive"
        )
        await kit.close(opened)
        done, _ = await asyncio.wait([call.task for call in calls], timeout=GRACE)
        for call in calls:
            call.task.cancel()
        require(len(done) == len(calls), "calls in flight go on once the transport is closed")
        for call in calls:
            await kit.end(call)
            kinds = (TransportClosed,) if kit.promises.tells_closed else (TransportError,)
            require(call.failed(*kinds), f"closed in flight: {call.end} (tells_closed)")
            require(call.outcome is Outcome.UNKNOWN, f"closed in flight: {call.end}; the server has it")


@_case()
async def closing_leaves_nothing_behind(kit: Kit) -> None:
    """No connection and no task; and nothing goes out any more."""
    async with serve(echo) as server:
        before = asyncio.all_tasks()
        opened, transport = await kit.open()
        await asyncio.gather(*(kit.call(transport, server) for _ in range(3)))
        await kit.close(opened)
        require(await eventually(lambda: not server.open), "connections are open after the end")
        require(await eventually(lambda: not asyncio.all_tasks() - before), "tasks are running after the end")
        call = await kit.call(transport, server)
        kinds = (TransportClosed,) if kit.promises.tells_closed else (TransportError,)
        require(call.failed(*kinds), f"a call once it is closed: {call.end} (tells_closed)")
        require(not call.arrivals(), "a call went out once the transport was closed")


@_case("tells_other_loop")
async def another_event_loop_is_told(kit: Kit) -> None:
    """Sockets belong to the loop they were opened on; on another one a call fails before it is sent."""
    async with serve(echo) as server, kit.transport() as transport:
        (await kit.call(transport, server)).require_own_answer()
        end = await asyncio.to_thread(lambda: asyncio.run(_end_of_a_call(kit, transport, server.url())))
        require(end == "TransportClosed not_sent", f"on another event loop: {end}")
        (await kit.call(transport, server)).require_own_answer()


@_case("tells_other_loop")
async def a_fork_is_told(kit: Kit) -> None:
    """A child would write into its parent's sockets; it is told so, and the parent goes on."""
    if not hasattr(os, "fork"):  # pragma: no cover -- on Windows
        return
    async with serve(echo) as server, kit.transport() as transport:
        (await kit.call(transport, server)).require_own_answer()
        reading, writing = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks beside threads
            child = os.fork()
        if not child:  # pragma: no cover -- what the child does is not measured
            with suppress(BaseException):
                loop = asyncio.new_event_loop()
                end = loop.run_until_complete(_end_of_a_call(kit, transport, server.url()))
                os.write(writing, end.encode())
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            end = (await asyncio.to_thread(pipe.read)).decode()
        os.waitpid(child, 0)  # noqa: ASYNC222 -- it has closed its end of the pipe, and is gone
        require(end == "TransportClosed not_sent", f"in a child process: {end or 'it did not come back'}")
        (await kit.call(transport, server)).require_own_answer()


async def _end_of_a_call(kit: Kit, transport: Transport, url: str) -> str:
    """What became of it where it should not have been made."""
    call = kit.start(transport, url, timeout=2)
    try:
        async with asyncio.timeout(2 + GRACE):
            return f"it got an answer, {(await call.task).status}"
    except DescopeNativeError as error:
        return f"{type(error).__name__} {error.outcome.value}"
    except Exception as error:  # noqa: BLE001 -- whatever it is, it is told
        return type(error).__name__
