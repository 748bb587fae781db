"""What every transport has to hold, as cases that anybody can run over theirs.

With pytest:

    @pytest.mark.parametrize("case", cases(Promises()), ids=str)
    def test_contract(case):
        asyncio.run(case.run(open_my_transport))

or on the command line, where a table says what holds:

    descope-native check-transport my_module:open_my_transport

``open_my_transport`` takes a `Trust`, with which TLS takes the kit's own servers for genuine, and gives an
async context manager that opens the transport and closes it at the end. The servers are raw sockets on
localhost; nothing leaves the machine but the look-up of one name that does not exist. `Promises` says what
the transport claims beyond what every transport owes. A case that fails raises `BrokenPromiseError`, whose
text says what was seen. It needs the extra ``testing``.
"""

import asyncio
import importlib
from collections.abc import AsyncGenerator
from typing import cast

import attrs

from descope_native.testing.transport_contract._cases import ALL, Body
from descope_native.testing.transport_contract._kit import (
    BrokenPromiseError,
    Kit,
    OpenTransport,
    Promises,
)
from descope_native.testing.transport_contract._servers import Trust

__all__ = ["BrokenPromiseError", "Case", "OpenTransport", "Promises", "Trust", "cases", "check", "load"]


@attrs.frozen
class Case:
    """One case.

    Attributes:
        name: what has to hold.
        sentence: the same at more length.
        promises: what the transport was said to promise.
    """

    name: str
    sentence: str
    promises: Promises
    _body: Body = attrs.field(repr=False)
    _claims: tuple[str, ...] = attrs.field(repr=False)

    def __str__(self) -> str:
        return self.name

    async def run(self, open_transport: OpenTransport, *, limit: float = 120.0) -> None:
        """Run it over a transport that it opens and closes itself.

        Args:
            open_transport: see the module.
            limit: seconds after which a transport hangs that does not even heed its cancellation.

        Raises:
            BrokenPromiseError: the case does not hold. The text says what was seen, and which claim it
                is that is false.
        """
        task = asyncio.ensure_future(self._run(Kit(open_transport, self.promises)))
        try:
            await asyncio.wait([task], timeout=limit)
        finally:
            is_over = task.done()
            task.cancel()
        if not is_over:
            raise BrokenPromiseError(f"it was not over after {limit:g} s")
        await task

    async def _run(self, kit: Kit) -> None:
        try:
            await self._body(kit)
        except BrokenPromiseError as broken:
            claims = f" ({', '.join(self._claims)})" if self._claims else ""
            raise BrokenPromiseError(f"{broken}{claims}") from None
        finally:
            await kit.abandon()


def cases(promises: Promises | None = None) -> list[Case]:
    """The cases for a transport with these promises; with all of them, where none are given."""
    promises = promises or Promises()
    return [
        Case(body.__name__, " ".join((body.__doc__ or "").split()), promises, body, needed)
        for body, needed in ALL
        if all(getattr(promises, name) for name in needed)
    ]


async def check(
    open_transport: OpenTransport, promises: Promises | None = None
) -> AsyncGenerator[tuple[Case, str | None]]:
    """Run all cases: each with what was seen instead, or None where it holds."""
    for case in cases(promises):
        seen: str | None = None
        try:
            await case.run(open_transport)
        except BrokenPromiseError as broken:
            seen = str(broken)
        except Exception as error:  # noqa: BLE001 -- what comes out of a transport that cannot be opened
            seen = f"{type(error).__name__} came out of it"
        yield case, seen


def load(reference: str) -> OpenTransport:
    """What ``module:name`` names.

    Raises:
        ValueError: it names nothing that can be called.
    """
    module, _, name = reference.partition(":")
    found = None
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        raise ValueError(f"{module} cannot be imported: {error}") from error
    except ValueError:  # an empty name
        pass
    if not callable(found):
        raise ValueError(  # noqa: TRY004 -- what is wrong is the text
            "no such function; name it as module:function"
        )
    return cast("OpenTransport", found)
