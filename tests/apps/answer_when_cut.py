"""An application that answers also what the server cuts off: uvicorn answer_when_cut:app"""

import asyncio
from typing import Any

import fastapi_app

from descope_native import TransportClosed
from descope_native.http_answer import answer_for


class AnswerWhenCut:
    """ASGI middleware, to be the outermost: a request that the server cancels is told to start over.

    Uvicorn cancels the requests that are left when its graceful timeout is over, and nothing else does.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        begun = False

        async def noting(message: Any) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except asyncio.CancelledError:
            if scope["type"] != "http" or begun:
                raise
            answer = answer_for(TransportClosed("wait", "the server stops"))  # the code may be spent
            headers = [(name.lower().encode(), value.encode()) for name, value in answer.headers.items()]
            await send({"type": "http.response.start", "status": answer.status, "headers": headers})
            await send({"type": "http.response.body", "body": answer.content})


app = AnswerWhenCut(fastapi_app.app)
