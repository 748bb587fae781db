"""Native sign-in with Starlette: hypercorn starlette_app:app"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from native_sign_in import open_finisher, read_proof, summarize
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from descope_native import DescopeNativeError
from descope_native.cookies import make_cookies
from descope_native.http_answer import answer_for


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with open_finisher() as app.state.finisher:
        yield


async def sign_in(request: Request) -> JSONResponse:
    content_type = request.headers.get("content-type")
    result = await request.app.state.finisher.finish(**read_proof(content_type, await request.body()))
    response = JSONResponse(summarize(result))
    for cookie in make_cookies(result):
        response.set_cookie(cookie.name, cookie.value, **cookie.attributes)
    return response


async def refuse(request: Request, error: DescopeNativeError) -> Response:
    answer = answer_for(error)
    return Response(answer.content, answer.status, answer.headers)


async def refuse_cut_body(request: Request, error: ClientDisconnect) -> Response:
    return Response(status_code=400)  # nobody is there to read it


app = Starlette(
    routes=[Route("/sign-in", sign_in, methods=["POST"])],
    exception_handlers={DescopeNativeError: refuse, ClientDisconnect: refuse_cut_body},
    lifespan=lifespan,
)
