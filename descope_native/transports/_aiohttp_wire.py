"""What stands between a connection and aiohttp's parser of answers."""

import asyncio
import re
from typing import TYPE_CHECKING, Final

from aiohttp.http import HttpProcessingError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.client_proto import ResponseHandler

_INTERIM: Final = re.compile(  # RFC 9110 §15.2; a 101 is no announcement, but an answer
    rb"(?>HTTP/1\.[01] 1(?!01)\d\d(?: [^\r\n]*+)?\r?\n(?:[^\r\n]++\r?\n)*+\r?\n)++"
)
_END_OF_HEAD: Final = re.compile(rb"\n\r?\n")
_MAX_LINE: Final = 8190  # aiohttp's own limit
_MAX_HEAD: Final = 64 * 1024


class Wire(asyncio.Protocol):
    """Hands to aiohttp's parser what comes while a request is out, and ends a connection that speaks unasked.

    Left to itself, the parser

    * takes in whatever comes over an idle connection, without limit and unseen by whoever uses it next;
    * makes a message of each of thousands of interim answers before anybody can say that it is enough;
    * drops the head of an answer where something behind it, in the same packet, is not HTTP.

    So an idle connection is cut at its first byte, interim answers stay here, and a head is handed over
    whole and by itself, however it was cut into packets.
    """

    def __init__(self, transport: asyncio.Transport, parser: "ResponseHandler") -> None:
        self._transport = transport
        self._parser = parser
        self._take: Callable[[bytes], None]
        self.listen()

    def listen(self) -> None:
        """A request goes out, and an answer may come."""
        self._head = b""
        self._take = self._take_head

    def rest(self) -> None:
        """The answer is over, and the connection waits for another request."""
        self._take = self._end

    def data_received(self, data: bytes) -> None:
        self._take(data)

    def _end(self, _: bytes) -> None:
        self._transport.abort()

    def _take_head(self, data: bytes) -> None:
        data = self._head + data
        if interim := _INTERIM.match(data):
            data = data[interim.end() :]
        if end := _END_OF_HEAD.search(data):
            self._hand_over(data[: end.end()])
            if len(data) > end.end():
                self._parser.data_received(data[end.end() :])
        elif not data.startswith(b"HTTP/"[: len(data)]):
            self._hand_over(data)
        elif len(data) > _MAX_HEAD or len(data) - data.rfind(b"\n") - 1 > _MAX_LINE:
            self._parser.set_exception(HttpProcessingError(message="the head is too long"))
        else:
            self._head = data

    def _hand_over(self, head: bytes) -> None:
        self._take = self._parser.data_received
        self._head = b""
        self._parser.data_received(head)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._head:
            self._hand_over(self._head)
        self._parser.connection_lost(exc)

    def eof_received(self) -> None:
        self._parser.eof_received()

    def pause_writing(self) -> None:
        self._parser.pause_writing()

    def resume_writing(self) -> None:
        self._parser.resume_writing()
