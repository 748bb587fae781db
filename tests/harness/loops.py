"""The event loops that the harness runs on."""

import asyncio
import importlib
import os
import socket
from typing import Any


def new_event_loop(name: str) -> asyncio.AbstractEventLoop:
    """A loop of asyncio's or of uvloop's, the latter with one mistake of older versions made good."""
    if name == "asyncio":
        return asyncio.new_event_loop()
    uvloop: Any = importlib.import_module(name)

    class Loop(uvloop.Loop):  # type: ignore[misc]  # whatever it is
        async def create_connection(self, *arguments: Any, **options: Any) -> Any:
            """As uvloop's, but with a socket that no longer names a descriptor that is closed.

            Up to 0.22.1 a call with ``sock`` that is cancelled before its connection is made closes the
            descriptor and lets the socket close it once more, when somebody else's may have its number: a
            connection of a server's, say, which is then never seen to end, or libuv's own, which aborts.
            """
            try:
                return await super().create_connection(*arguments, **options)
            except BaseException:
                sock = options.get("sock")
                if isinstance(sock, socket.socket) and _is_stale(sock):
                    sock.detach()
                raise

    return Loop()


def _is_stale(sock: socket.socket) -> bool:
    if sock.fileno() < 0:
        return False
    try:
        os.fstat(sock.fileno())
    except OSError:
        return True
    return False
