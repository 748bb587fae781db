"""What stands between a connection and aiohttp's parser of answers, and knows whose each byte is."""

import asyncio
import re
from typing import TYPE_CHECKING, Final, cast

from descope_native.transports._aiohttp.framing import MAX_LINE, BodyEnd
from descope_native.transports._aiohttp.idle import Rest
from descope_native.transports._aiohttp.internals import (
    HttpProcessingError,
    end_reading,
    is_closed_by_aiohttp,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from descope_native.transports._aiohttp.internals import ResponseHandler

MAX_HEAD: Final = 64 * 1024
MAX_HEADERS: Final = 126
"""As many as both of aiohttp's parsers take: 128, where one counts the first line and the empty one."""

_END_OF_HEAD: Final = re.compile(rb"\n\r?\n")
_INTERIM: Final = re.compile(  # RFC 9110 §15.2; a 101 is no announcement, but an answer
    rb"(?>[\r\n]*+HTTP/1\.[01] 1(?!01)\d\d(?: [^\r\n]*+)?\r?\n(?:[^\r\n]++\r?\n)*+\r?\n)++"
)

_REQUEST_TIMEOUT: Final = re.compile(rb"HTTP/1\.[01] 408 ")

_NOT_HTTP: Final = "the answer is not HTTP"
_TWO_LENGTHS: Final = "the answer has two lengths"
_LINE_TOO_LONG: Final = f"a line of the answer's head is longer than {MAX_LINE} bytes"
_HEAD_TOO_LARGE: Final = f"the answer's head is larger than {MAX_HEAD} bytes"
_TOO_MANY_HEADERS: Final = f"the answer has more than {MAX_HEADERS} headers"

_UNKNOWN_END: Final = BodyEnd(b"")


class HeadRefused(HttpProcessingError):
    """It may well be HTTP, but it goes beyond a limit or tells two lengths; its message says which."""


class Wire(asyncio.Protocol):
    """Hands to aiohttp's parser one answer, from its first byte to its last, and notes what else came.

    Left to itself, the parser

    * takes in whatever comes over an idle connection, without limit and unseen by whoever uses it next;
    * keeps what comes behind an answer and is less than a message, where nobody sees it;
    * makes a message of each of thousands of interim answers before anybody can say that it is enough;
    * drops the head of an answer where something behind it, in the same packet, is not HTTP.

    The parser alone says what an answer means. This class says where it begins and ends, which the parser
    tells nobody, so it stands in front of it and not around it. What comes is, in turn,

    ====================  =============================================================================
    the head              kept until it is complete; empty lines and interim answers are dropped
    the body              passed on
    behind the answer     dropped, and the connection is not used again
    idle, a pool of ours  the connection is closed at the first byte
    idle, lent            passed on to the owner of a borrowed pool; the connection is not ours again
    ====================  =============================================================================

    Attributes:
        is_clean: the answer is over, and nothing has come since.
        is_early: the answer began before all of the request had left this process.
        body: where the answer ends; nowhere, until its head is there.
        rest: since when it idles; None while a call has it.
    """

    def __init__(self, transport: asyncio.Transport, parser: "ResponseHandler") -> None:
        self._transport = transport
        self._parser = parser
        self.rest: Rest | None = None
        self.listen()

    def listen(self) -> None:
        """A request goes out, and an answer may come."""
        self.is_clean = False
        self.is_early = False
        self.rest = None
        self.body = _UNKNOWN_END
        self._is_held_back = False
        self._head = bytearray()
        self._searched = self._line_at = 0
        self._take: Callable[[bytes], None] = self._take_head

    def hold_back(self, loop: asyncio.AbstractEventLoop) -> None:
        """This loop keeps what was just written until the end of its turn, and TLS does not show it.

        What comes before the next turn was there before the request left, or may have been: the loop sends
        what it has kept and then reads, both before anybody else has a turn. So by the time that such an
        answer is seen the request has left, and the connection cannot be replaced in silence.
        """
        self._is_held_back = True
        loop.call_soon(self._note_that_it_left)

    def _note_that_it_left(self) -> None:
        self._is_held_back = False

    def close_if_it_speaks(self, rest: Rest) -> None:
        """The connection waits in a pool of ours: nobody may say anything."""
        self._take = self._close
        self.rest = rest

    def lend(self, rest: Rest) -> None:
        """The connection waits in a pool from where others may take it."""
        self._take = self._pass_to_owner
        self.rest = rest

    def data_received(self, data: bytes) -> None:
        self._take(data)

    def _close(self, data: bytes) -> None:
        self._end_rest(data)
        self._transport.abort()

    def _pass_to_owner(self, data: bytes) -> None:
        self._end_rest(data)
        self.is_clean = False
        self._parser.data_received(data)

    def _end_rest(self, data: bytes) -> None:
        rest = cast("Rest", self.rest)
        # A peer that tells why it closes an idle connection does not mean us with it (RFC 9110 §15.5.9).
        if _REQUEST_TIMEOUT.match(data):
            rest.end_by_peer()
        rest.has_ended = True  # whoever closes it now does not do it because it idles

    # --- the head

    def _take_head(self, data: bytes) -> None:
        head = self._head
        head += data
        while True:
            if not self._searched:
                self.is_early = self._is_held_back or self._transport.get_write_buffer_size() > 0
                del head[: len(head) - len(head.lstrip(b"\r\n"))]  # RFC 9112 §2.2
            if not head.startswith(b"HTTP/"[: len(head)]):
                self._refuse(HttpProcessingError(message=_NOT_HTTP))
                return
            end = _END_OF_HEAD.search(head, max(0, self._searched - 2))
            if end is None:
                self._wait_for_more(head)
                return
            interim = _INTERIM.match(head)
            if interim is None:
                break
            del head[: interim.end()]
            self._searched = self._line_at = 0
        self._head = bytearray()
        self._check_head(bytes(head[: end.end()]), bytes(head[end.end() :]))

    def _wait_for_more(self, head: bytearray) -> None:
        self._line_at = max(self._line_at, head.rfind(b"\n", self._searched) + 1)
        self._searched = len(head)  # so that a head that comes byte by byte is looked through once
        if len(head) - self._line_at > MAX_LINE:
            self._refuse(HeadRefused(message=_LINE_TOO_LONG))
        elif len(head) > MAX_HEAD:
            self._refuse(HeadRefused(message=_HEAD_TOO_LARGE))

    def _check_head(self, head: bytes, rest: bytes) -> None:
        lines = head.split(b"\n")
        if any(len(line) > MAX_LINE for line in lines):
            self._refuse(HeadRefused(message=_LINE_TOO_LONG))
        elif len(head) > MAX_HEAD:
            self._refuse(HeadRefused(message=_HEAD_TOO_LARGE))
        elif len(lines) - 3 > MAX_HEADERS:  # the first line, the empty one, and what is behind it
            self._refuse(HeadRefused(message=_TOO_MANY_HEADERS))
        elif (body := BodyEnd(head)).has_two_lengths:
            self._refuse(HeadRefused(message=_TWO_LENGTHS))
        else:
            self.body = body
            self.is_clean = body.is_over
            self._take = self._take_body
            self._parser.data_received(head)  # by itself, or what is behind it could spoil it
            if self._transport.is_closing():  # the parser refused it, and would close what is closed again
                self._take = self._drop
            elif rest:
                self._take(rest)

    def _refuse(self, problem: HttpProcessingError) -> None:
        self._head = bytearray()
        self._take = self._drop
        end_reading(self._parser, problem)

    def _drop(self, _: bytes) -> None:
        """The call is at its end, and the connection with it."""

    # --- the body, and what is behind it

    def _take_body(self, data: bytes) -> None:
        end = self.body.skip(data)
        self.is_clean = self.body.is_over and end == len(data)
        if end:
            self._parser.data_received(data[:end])

    # --- the rest of a connection's life

    def connection_lost(self, exc: Exception | None) -> None:
        # On uvloop, TLS tells of an end without close_notify in no other way, without an error.
        is_by_peer = exc is not None or not is_closed_by_aiohttp(self._parser)
        if self.rest is not None and is_by_peer:
            self.rest.end_by_peer()
        if self._head:
            head, self._head = bytes(self._head), bytearray()
            self._parser.data_received(head)
        self._parser.connection_lost(exc)

    def eof_received(self) -> None:
        if self.rest is not None:
            self.rest.end_by_peer()
        self._parser.eof_received()

    def pause_writing(self) -> None:
        self._parser.pause_writing()

    def resume_writing(self) -> None:
        self._parser.resume_writing()
