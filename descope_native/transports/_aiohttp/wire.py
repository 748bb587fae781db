"""What stands between a connection and aiohttp's parser of answers, and knows where each answer ends."""

import asyncio
import re
from typing import TYPE_CHECKING, Final

from aiohttp.http import HttpProcessingError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.client_proto import ResponseHandler

MAX_LINE: Final = 32 * 1024
"""Bytes of a header, which may be a cookie with a token of 16 KiB."""
MAX_HEAD: Final = 64 * 1024
MAX_HEADERS: Final = 126
"""As many as both of aiohttp's parsers take: 128, where one counts the first line and the empty one."""

_END_OF_HEAD: Final = re.compile(rb"\n\r?\n")
_INTERIM: Final = re.compile(  # RFC 9110 §15.2; a 101 is no announcement, but an answer
    rb"(?>[\r\n]*+HTTP/1\.[01] 1(?!01)\d\d(?: [^\r\n]*+)?\r?\n(?:[^\r\n]++\r?\n)*+\r?\n)++"
)
_LENGTH: Final = re.compile(rb"\ncontent-length:[ \t]*(\d{1,15}(?=[ \t]*\r?\n)|)", re.IGNORECASE)
_CODING: Final = re.compile(rb"\ntransfer-encoding:[ \t]*([^\r\n]*?)[ \t]*(?=\r?\n)", re.IGNORECASE)
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;|\r?$)")


_LINE_TOO_LONG: Final = f"a line of the answer's head is longer than {MAX_LINE} bytes"
_HEAD_TOO_LARGE: Final = f"the answer's head is larger than {MAX_HEAD} bytes"
_TOO_MANY_HEADERS: Final = f"the answer has more than {MAX_HEADERS} headers"


class HeadTooLong(HttpProcessingError):
    """It may well be HTTP, but goes beyond a limit, which its message names."""


class Wire(asyncio.Protocol):
    """Hands to aiohttp's parser one answer, from its first byte to its last, and knows if anybody said more.

    Left to itself, the parser

    * takes in whatever comes over an idle connection, without limit and unseen by whoever uses it next;
    * keeps what comes behind an answer and is less than a message, where nobody sees it;
    * makes a message of each of thousands of interim answers before anybody can say that it is enough;
    * drops the head of an answer where something behind it, in the same packet, is not HTTP.

    So interim answers and empty lines stay here, a head is handed over whole and by itself, and the
    rest up to where the answer ends (RFC 9112 §6.3). Between two requests of ours a connection is

    * at rest, if it is of a pool of our own: it is cut at its first byte;
    * lent to the owner of a borrowed pool: all is passed on, and that something came is remembered.
    """

    def __init__(self, transport: asyncio.Transport, parser: "ResponseHandler") -> None:
        self._transport = transport
        self._parser = parser
        self._take: Callable[[bytes], None]
        self._step: Callable[[bytes, int], int]
        self.listen()

    def listen(self) -> None:
        """A request goes out, and an answer may come."""
        self.is_clean = False
        """The answer has come to its end, and nothing has come behind it."""
        self.is_early = False
        """The answer began before all of the request had left this process."""
        self.is_malformed = False
        """A chunk of the answer is none."""
        self._is_held_back = False
        self._head = bytearray()
        self._searched = self._line_at = 0
        self._line = b""
        self._left = 0
        self._is_whole_line = False
        self._take = self._take_head

    def hold_back(self, loop: asyncio.AbstractEventLoop) -> None:
        """This loop keeps what was just written until the end of its turn, and TLS does not show it.

        What comes before the next turn was there before the request left.
        """
        self._is_held_back = True
        loop.call_soon(self._has_left)

    def _has_left(self) -> None:
        self._is_held_back = False

    def rest(self) -> None:
        """The answer is over, and the connection waits for another request."""
        self._take = self._cut

    def lend(self) -> None:
        """The same, in a pool from where others may take it."""
        self._take = self._pass_on

    def data_received(self, data: bytes) -> None:
        self._take(data)

    def _cut(self, _: bytes) -> None:
        self._transport.abort()

    def _pass_on(self, data: bytes) -> None:
        self.is_clean = False
        self._parser.data_received(data)

    # --- the head

    def _take_head(self, data: bytes) -> None:
        head = self._head
        head += data
        while True:
            if not self._searched:
                self.is_early = self._is_held_back or self._transport.get_write_buffer_size() > 0
                del head[: len(head) - len(head.lstrip(b"\r\n"))]  # RFC 9112 §2.2
            if not head.startswith(b"HTTP/"[: len(head)]):
                self._refuse(HttpProcessingError(message="the answer is not HTTP"))
                return
            end = _END_OF_HEAD.search(head, max(0, self._searched - 2))
            if end is None or not (interim := _INTERIM.match(head)):
                break
            del head[: interim.end()]
            self._searched = self._line_at = 0
        if end is None:
            self._wait_for_more(head)
            return
        whole, rest = bytes(head[: end.end()]), bytes(head[end.end() :])
        self._head = bytearray()
        lines = whole.split(b"\n")
        if any(len(line) > MAX_LINE for line in lines):
            self._refuse(_LINE_TOO_LONG)
        elif len(whole) > MAX_HEAD:
            self._refuse(_HEAD_TOO_LARGE)
        elif len(lines) - 3 > MAX_HEADERS:  # the first line, the empty one, and what is behind it
            self._refuse(_TOO_MANY_HEADERS)
        else:
            self._begin_body(whole, rest)

    def _wait_for_more(self, head: bytearray) -> None:
        self._line_at = max(self._line_at, head.rfind(b"\n", self._searched) + 1)
        self._searched = len(head)  # so that a head that comes byte by byte is looked through once
        if len(head) - self._line_at > MAX_LINE:
            self._refuse(_LINE_TOO_LONG)
        elif len(head) > MAX_HEAD:
            self._refuse(_HEAD_TOO_LARGE)

    def _refuse(self, problem: "str | HttpProcessingError") -> None:
        self._head = bytearray()
        self._take = self._ignore
        self._parser.set_exception(HeadTooLong(message=problem) if isinstance(problem, str) else problem)

    def _ignore(self, _: bytes) -> None:
        """The call is at its end, and the connection with it."""

    # --- the body

    def _begin_body(self, head: bytes, rest: bytes) -> None:
        """Where this answer ends, by RFC 9112 §6.3. Where it does not say so, its connection goes."""
        lengths = {int(length) if length else -1 for length in _LENGTH.findall(head)}
        codings = _CODING.findall(head)
        if len(lengths) > 1:
            self._refuse(HttpProcessingError(message="the answer has two lengths"))
            return
        self._step = self._skip_all
        if codings:
            if not lengths and [coding.lower() for coding in codings] == [b"chunked"]:
                self._step = self._read_size
        elif lengths and (length := lengths.pop()) >= 0:
            self._left = length
            self._step = self._skip_counted
        self.is_clean = self._step == self._skip_counted and not self._left
        self._take = self._spoil if self.is_clean else self._take_body
        self._parser.data_received(head)
        if rest:
            self._take(rest)

    def _take_body(self, data: bytes) -> None:
        at = 0
        while at < len(data) and not self.is_clean:
            at = self._step(data, at)
        if self.is_clean:
            self._take = self._spoil
        self._parser.data_received(data[:at])
        if at < len(data):
            self._spoil(data)

    def _spoil(self, _: bytes) -> None:
        """Whatever is behind an answer belongs to nobody, so the connection is not used again."""
        self.is_clean = False

    # Each step says how far it has come in what is there, and sets the next one.

    def _skip_all(self, data: bytes, _: int) -> int:
        return len(data)

    def _skip_counted(self, data: bytes, at: int) -> int:
        stop = min(len(data), at + self._left)
        self._left -= stop - at
        self.is_clean = not self._left
        return stop

    def _read_size(self, data: bytes, at: int) -> int:
        at = self._read_line(data, at)
        if self._is_whole_line:
            size = _SIZE.match(self._line)
            self._left = int(size[1], 16) if size else 0
            if size is None:
                self._give_up_chunks()
            else:
                self._step = self._skip_chunk if self._left else self._read_trailer
            self._line = b""
        return at

    def _skip_chunk(self, data: bytes, at: int) -> int:
        stop = min(len(data), at + self._left)
        self._left -= stop - at
        if not self._left:
            self._step = self._read_end_of_chunk
        return stop

    def _read_end_of_chunk(self, data: bytes, at: int) -> int:
        at = self._read_line(data, at)
        if self._is_whole_line:
            if self._line.rstrip(b"\r\n"):
                self._give_up_chunks()
            else:
                self._step = self._read_size
            self._line = b""
        return at

    def _read_trailer(self, data: bytes, at: int) -> int:
        at = self._read_line(data, at)
        if self._is_whole_line:
            self.is_clean = not self._line.rstrip(b"\r\n")
            self._line = b""
        return at

    def _read_line(self, data: bytes, at: int) -> int:
        stop = data.find(b"\n", at) + 1
        self._is_whole_line = stop > 0
        self._line += data[at : stop or len(data)]
        if len(self._line) > MAX_LINE:
            self._is_whole_line = False
            self._give_up_chunks()
        return stop or len(data)

    def _give_up_chunks(self) -> None:
        self.is_malformed = True  # the parser ends it, but a connection that is lost meanwhile would hide why
        self._step = self._skip_all

    # --- the rest of a connection's life

    def connection_lost(self, exc: Exception | None) -> None:
        if self._head:
            head, self._head = bytes(self._head), bytearray()
            self._parser.data_received(head)
        self._parser.connection_lost(exc)

    def eof_received(self) -> None:
        self._parser.eof_received()

    def pause_writing(self) -> None:
        self._parser.pause_writing()

    def resume_writing(self) -> None:
        self._parser.resume_writing()
