"""The connection dies after each single byte of request and answer: the label is what the server saw."""

import asyncio
import socket
import struct
from contextlib import suppress
from typing import Final

import pytest
from kit.networks import Network
from kit.servers import session
from kit.support import CODE, finish

from descope_native import ConnectionLost, DescopeNativeError, FinishResult, Outcome, RequestTimeout

ANSWER: Final = session("t.o.ken")
HEAD: Final = ANSWER.index(b"\r\n\r\n") + 4
WAYS: Final = ("FIN", "RST", pytest.param("stall", marks=pytest.mark.slow))
STALL: Final = 0.4
PATIENCE: Final = 20
WORKERS: Final = 48


class Peer:
    """A server of one connection at a time that takes no more bytes from the kernel than it is told to."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.url = f"http://localhost:{self._listener.getsockname()[1]}"

    async def serve(
        self, given: asyncio.Event, over: asyncio.Event, *, take: int | None, give: int, way: str
    ) -> bytes:
        """Read so much of a request (None: all), send so much of an answer, and die. Gives what it read."""
        loop = asyncio.get_running_loop()
        sock, _ = await loop.sock_accept(self._listener)
        with sock:
            read = b""
            while len(read) < take if take is not None else not read.endswith(b"}"):
                data = await loop.sock_recv(sock, 65536 if take is None else take - len(read))
                if not data:  # gave up before it had sent as much: the machine was busy
                    return read
                read += data
            await loop.sock_sendall(sock, ANSWER[:give])
            given.set()
            if way == "FIN":
                with suppress(OSError):  # a client that has its answer, and keeps no connection, is gone
                    sock.shutdown(socket.SHUT_WR)
            if way == "RST":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            else:
                await over.wait()  # the rest of the request stays in the kernel: not read is not seen
            return read

    def close(self) -> None:
        self._listener.close()


End = FinishResult | DescopeNativeError


async def each_of(network: Network, cases: list[tuple[int | None, int, str]]) -> list[tuple[End, bytes]]:
    """How the call ends in each case, and what the server had read of it; many cases at once."""
    ends: list[tuple[End, bytes] | None] = [None] * len(cases)
    left = iter(enumerate(cases))

    async def work() -> None:
        peer = Peer()
        async with network.open(reuse_connections=False) as transport:
            for number, (take, give, way) in left:
                patience = STALL if way == "stall" else PATIENCE
                while ends[number] is None:
                    given, over = asyncio.Event(), asyncio.Event()
                    serving = asyncio.create_task(peer.serve(given, over, take=take, give=give, way=way))
                    end: End
                    try:
                        end = await finish(transport, peer.url, timeout=patience)
                    except DescopeNativeError as error:
                        end = error
                    over.set()
                    if given.is_set() or patience >= PATIENCE:
                        ends[number] = end, await serving
                    else:  # the machine was busy for so long
                        serving.cancel()
                        await asyncio.wait([serving])
                        peer.close()
                        peer = Peer()
                        patience *= 2
        peer.close()

    await asyncio.gather(*(work() for _ in range(WORKERS)))
    return [end for end in ends if end is not None]


@pytest.mark.parametrize("way", WAYS)
async def test_a_connection_that_dies_after_any_byte_of_the_request_leaves_it_unknown(
    network: Network, way: str
) -> None:
    """From the first byte that the server has read, nothing says that it was not sent."""
    [(_, request)] = await each_of(network, [(None, len(ANSWER), "FIN")])
    assert request.startswith(b"POST ")
    assert request.count(CODE.encode()) == 1
    cases: list[tuple[int | None, int, str]] = [(take, 0, way) for take in range(1, len(request) + 1)]
    for (take, _, _), (end, seen) in zip(cases, await each_of(network, cases), strict=True):
        assert len(seen) == take
        assert isinstance(end, DescopeNativeError)
        assert type(end) is (RequestTimeout if way == "stall" else ConnectionLost), take
        assert (end.outcome, end.safe_to_retry) == (Outcome.UNKNOWN, False), take


@pytest.mark.parametrize("way", WAYS)
async def test_a_connection_that_dies_after_any_byte_of_the_answer_leaves_it_unknown(
    network: Network, way: str
) -> None:
    """Only the last byte makes it a session; the phase names the part that did not come."""
    cases: list[tuple[int | None, int, str]] = [(None, give, way) for give in range(len(ANSWER) + 1)]
    for (_, give, _), (end, seen) in zip(cases, await each_of(network, cases), strict=True):
        assert seen.count(CODE.encode()) == 1
        if give == len(ANSWER) and way != "RST":  # a reset may overtake what was sent before it
            assert isinstance(end, FinishResult)
            assert end.session_jwt == "t.o.ken"
        elif not (give == len(ANSWER) and isinstance(end, FinishResult)):
            assert type(end) is (RequestTimeout if way == "stall" else ConnectionLost), give
            assert (end.outcome, end.safe_to_retry) == (Outcome.UNKNOWN, False), give
            if way != "RST":
                assert end.phase == ("wait" if give < HEAD else "read"), give
