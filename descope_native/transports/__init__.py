"""The seam between the rules of the service and a network: bytes out, bytes in."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Protocol, cast

import attrs

from descope_native.errors import Phase

if TYPE_CHECKING:  # yarl takes a while to import, and whoever makes a request has it by then
    from yarl import URL

__all__ = ["HttpRequest", "HttpResponse", "Progress", "Transport"]


def as_pairs(headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Name and value of each header, from pairs or a mapping."""
    if isinstance(headers, tuple):
        return headers
    if isinstance(headers, Mapping):
        return tuple(cast("Mapping[str, str]", headers).items())
    return tuple(headers)


@attrs.frozen
class HttpResponse:
    """The answer as it came. Its repr shows neither headers nor body: both may hold tokens.

    Attributes:
        status: the HTTP status.
        headers: pairs in the order they came, since two ``Set-Cookie`` lines must stay two. A mapping
            is taken as well, and becomes pairs.
        body: the bytes, complete, with no content coding undone.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = attrs.field(default=(), repr=False, converter=as_pairs)
    body: bytes = attrs.field(default=b"", repr=False)

    def header(self, name: str) -> str | None:
        """The first value under this name, in any case, or None."""
        return next(iter(self.header_values(name)), None)

    def header_values(self, name: str) -> list[str]:
        """All values under this name, in any case, in the order they came."""
        wanted, size = name.lower(), len(name)
        return [value for key, value in self.headers if len(key) == size and key.lower() == wanted]


@attrs.define(eq=False)
class Progress:
    """How far one request has got; a transport keeps it up to date.

    Attributes:
        phase: from ``send`` on, the request may have reached somebody. It starts there, since a
            transport that tells nothing has proved nothing.
    """

    phase: Phase = "send"


@attrs.frozen(kw_only=True)
class HttpRequest:
    """One request, ready to send. Its repr shows neither headers nor body: both hold secrets.

    Attributes:
        method: always ``POST`` where a finisher made it.
        url: absolute.
        headers: name to value, complete but for ``Host`` and ``Content-Length``.
        body: the bytes to send.
        timeout: the seconds left of the caller's deadline.
        progress: how far the transport has got with it.
    """

    method: str
    url: "URL"
    headers: Mapping[str, str] = attrs.field(repr=False, hash=False)
    body: bytes = attrs.field(repr=False)
    timeout: float
    progress: Progress = attrs.field(factory=Progress, repr=False, eq=False)


class Transport(Protocol):
    """What carries a request to the service. Anything with this one method is a transport.

    Whoever writes one owes the caller that

    * the request goes out once at most, to this URL and no other: no re-sending, no redirects,
      no cookies of its own;
    * nothing takes longer than ``request.timeout`` seconds, waiting for a connection included;
    * an answer of any status is returned, not raised, and belongs to this request;
    * the body is bounded and complete. Where it cannot be had whole, a 2xx raises
      (`UnexpectedResponse` or `ConnectionLost`), while for any other status, which
      says enough by itself, the body is handed over empty;
    * failures are raised as `TransportError` and its kinds, ``phase`` being ``pool`` or
      ``connect`` only if no byte of the request has left or ever will;
    * ``request.progress`` says how far the call has got, also when it is cancelled;
    * cancellation passes through untouched and leaves nothing behind.
    """

    async def send(self, request: HttpRequest, /) -> HttpResponse:
        """Send the request and return the answer."""
        ...
