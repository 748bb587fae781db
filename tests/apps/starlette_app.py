"""Native sign-in with Starlette: hypercorn starlette_app:app"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from descope_native import DescopeNativeError, NativeOAuthFinisher
from descope_native.cookies import make_cookies
from descope_native.http_answer import answer_for

SETTINGS = {name: value for name, value in os.environ.items() if value}  # an empty one is not given


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with NativeOAuthFinisher.open(
        SETTINGS["DESCOPE_PROJECT_ID"],
        base_url=SETTINGS.get("DESCOPE_BASE_URI"),
        timeout=float(SETTINGS.get("SIGN_IN_TIMEOUT", "15")),
    ) as app.state.finisher:
        yield


async def sign_in(request: Request) -> JSONResponse:
    try:
        body = await request.json()
        proof = {name: body.get(name) for name in ("provider", "state_id", "code", "id_token", "user")}
    except (ValueError, AttributeError):
        raise HTTPException(400) from None
    result = await request.app.state.finisher.finish(**proof)
    response = JSONResponse({"first_seen": result.first_seen})
    for cookie in make_cookies(result):
        response.set_cookie(cookie.name, cookie.value, **cookie.attributes)
    return response


async def refuse(request: Request, error: DescopeNativeError) -> Response:
    answer = answer_for(error)
    return Response(answer.content, answer.status, answer.headers)


app = Starlette(
    routes=[Route("/sign-in", sign_in, methods=["POST"])],
    exception_handlers={DescopeNativeError: refuse},
    lifespan=lifespan,
)
