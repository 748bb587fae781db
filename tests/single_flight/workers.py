"""A service behind one or more workers that have a single flight each, all in this process."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import attrs
from kit.support import PROJECT

from descope_native import (
    CallEvent,
    HttpRequest,
    HttpResponse,
    InMemoryTransport,
    NativeOAuthFinisher,
    SingleFlight,
)

Answering = Callable[[HttpRequest], Awaitable[HttpResponse]]

BASE_URL: Final = "http://localhost"


def session_for(request: HttpRequest) -> HttpResponse:
    """A session that tells which proof it is for."""
    sent = json.loads(request.body)
    proof = sent.get("code") or sent["idToken"]
    return HttpResponse(
        200, (), json.dumps({"sessionJwt": f"s.{proof}", "refreshJwt": f"r.{proof}"}).encode()
    )


@attrs.define
class Service:
    """It holds each request until it is let go, and then answers as told."""

    status: int = 200
    is_held: bool = False
    received: list[HttpRequest] = attrs.field(factory=list)
    arrived: asyncio.Event = attrs.field(factory=asyncio.Event)
    may_answer: asyncio.Event = attrs.field(factory=asyncio.Event)
    raises: BaseException | None = None
    answering: Answering | None = None
    """Instead of the rest."""

    async def answer(self, request: HttpRequest) -> HttpResponse:
        self.received.append(request)
        if self.answering is not None:
            return await self.answering(request)
        self.arrived.set()
        if self.is_held:
            await self.may_answer.wait()
        if self.raises is not None:
            raise self.raises
        return session_for(request) if self.status == 200 else HttpResponse(self.status)


@attrs.define
class Worker:
    finisher: NativeOAuthFinisher
    transport: InMemoryTransport
    events: list[CallEvent]

    async def finish(self, **arguments: Any) -> Any:
        proof = {"provider": "apple", "state_id": "state-1", "code": "code-1"}
        return await self.finisher.finish(**{**proof, **arguments})

    @property
    def hows(self) -> list[str | None]:
        return [event.single_flight for event in self.events]


@asynccontextmanager
async def worker(
    service: Service, single_flight: SingleFlight | None = None, **options: Any
) -> AsyncIterator[Worker]:
    """One that shares the service with others."""
    events: list[CallEvent] = []
    transport = InMemoryTransport(service.answer)
    finisher = NativeOAuthFinisher(
        PROJECT,
        transport,
        base_url=BASE_URL,
        single_flight=single_flight or SingleFlight(),
        on_call=events.append,
        **options,
    )
    try:
        yield Worker(finisher, transport, events)
    finally:
        await transport.close()
        await settled()


async def settled() -> None:
    """Until no task is left but this one: a call that its callers have left goes on in a task of its own."""
    async with asyncio.timeout(10):
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)


async def started(*calls: Awaitable[Any]) -> list[asyncio.Task[Any]]:
    """Each in a task that has got as far as it gets by itself."""
    tasks: list[Any] = [asyncio.ensure_future(call) for call in calls]
    for _ in range(10):
        await asyncio.sleep(0)
    return tasks
