"""Native sign-in with Litestar: granian --interface asgi litestar_app:app"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from litestar import Litestar, Request, Response, post
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from native_sign_in import open_finisher, read_proof, summarize

from descope_native import DescopeNativeError, NativeOAuthFinisher
from descope_native.cookies import make_cookies
from descope_native.http_answer import answer_for


@asynccontextmanager
async def lifespan(app: Litestar) -> AsyncIterator[None]:
    async with open_finisher() as app.state.finisher:
        yield


async def get_finisher(state: State) -> NativeOAuthFinisher:
    finisher: NativeOAuthFinisher = state.finisher
    return finisher


@post("/sign-in", status_code=200)
async def sign_in(
    request: Request[Any, Any, Any], finisher: NamedDependency[NativeOAuthFinisher]
) -> Response[dict[str, Any]]:
    # Not as an argument: what is no UTF-8, or nested without end, would be a 500.
    result = await finisher.finish(**read_proof(request.content_type[0], await request.body()))
    response = Response(summarize(result))
    for cookie in make_cookies(result):
        response.set_cookie(cookie.name, cookie.value, **cookie.attributes)
    return response


def refuse(request: Request[Any, Any, Any], error: DescopeNativeError) -> Response[bytes]:
    answer = answer_for(error)
    return Response(answer.content, status_code=answer.status, headers=answer.headers)


app = Litestar(
    route_handlers=[sign_in],
    dependencies={"finisher": Provide(get_finisher)},
    exception_handlers={DescopeNativeError: refuse},
    lifespan=[lifespan],
)
