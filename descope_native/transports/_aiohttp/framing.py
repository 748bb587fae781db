"""Where the body of an answer ends (RFC 9112 §6.3 and §7.1), told from its bytes without keeping them."""

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_LINE: Final = 32 * 1024
"""Bytes of a line: of a header, which may be a cookie with a token of 16 KiB, or of a chunk's size."""

_LENGTH: Final = re.compile(rb"\ncontent-length:[ \t]*(\d{1,15}(?=[ \t]*\r?\n)|)", re.IGNORECASE)
_CODING: Final = re.compile(rb"\ntransfer-encoding:[ \t]*([^\r\n]*?)[ \t]*(?=\r?\n)", re.IGNORECASE)
_CHUNK_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;|\r?$)")


class BodyEnd:
    """Reads along with one body, and knows when it is over.

    The end is certain where the head counts the body's bytes or says that it comes in chunks. Any other body
    is never over: only the end of its connection could end it.

    Attributes:
        has_two_lengths: the head contradicts itself. Whoever reads the other length takes a part of this
            answer for the next one.
        is_over: no more bytes belong to this answer.
        is_malformed: what should be a chunk is none. Where its connection goes after that, aiohttp reports
            that the body was cut, which means something else.
    """

    def __init__(self, head: bytes) -> None:
        lengths = {int(length) if length else -1 for length in _LENGTH.findall(head)}
        codings = [coding.lower() for coding in _CODING.findall(head)]
        self.has_two_lengths = len(lengths) > 1
        self.is_malformed = False
        self._left = max(lengths, default=-1)
        self._line = bytearray()
        # How far one part of the body reaches in what has come. It sets what comes next.
        self._skip: Callable[[bytes, int], int] = self._skip_all
        if not codings and self._left >= 0:
            self._skip = self._skip_counted
        elif codings == [b"chunked"] and not lengths:
            self._skip = self._skip_size
        self.is_over = self._skip == self._skip_counted and not self._left

    def skip(self, data: bytes) -> int:
        """How many of these bytes, from the first, belong to the answer."""
        at = 0
        while at < len(data) and not self.is_over:
            at = self._skip(data, at)
        return at

    def _skip_all(self, data: bytes, _: int) -> int:
        return len(data)

    def _skip_counted(self, data: bytes, at: int) -> int:
        at = self._skip_left(data, at)
        self.is_over = not self._left
        return at

    def _skip_left(self, data: bytes, at: int) -> int:
        stop = min(len(data), at + self._left)
        self._left -= stop - at
        return stop

    def _skip_size(self, data: bytes, at: int) -> int:
        at, line = self._skip_line(data, at)
        if line is not None:
            size = _CHUNK_SIZE.match(line)
            if size is None:
                self._refuse()
            else:
                self._left = int(size[1], 16)
                self._skip = self._skip_chunk if self._left else self._skip_trailer
        return at

    def _skip_chunk(self, data: bytes, at: int) -> int:
        at = self._skip_left(data, at)
        if not self._left:
            self._skip = self._skip_end_of_chunk
        return at

    def _skip_end_of_chunk(self, data: bytes, at: int) -> int:
        at, line = self._skip_line(data, at)
        if line == b"":
            self._skip = self._skip_size
        elif line is not None:
            self._refuse()
        return at

    def _skip_trailer(self, data: bytes, at: int) -> int:
        at, line = self._skip_line(data, at)
        self.is_over = line == b""
        return at

    def _skip_line(self, data: bytes, at: int) -> tuple[int, bytes | None]:
        """The line without its end, once it is complete."""
        stop = data.find(b"\n", at) + 1
        self._line += data[at : stop or len(data)]
        if len(self._line) > MAX_LINE:
            self._refuse()
        elif stop:
            line = self._line.rstrip(b"\r\n")
            self._line.clear()
            return stop, bytes(line)
        return stop or len(data), None

    def _refuse(self) -> None:
        self.is_malformed = True
        self._skip = self._skip_all
