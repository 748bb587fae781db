"""Native sign-in with Litestar: granian --interface asgi litestar_app:app"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
from litestar import Litestar, Request, Response, post
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.params import JSONBody

from descope_native import DescopeNativeError, NativeOAuthFinisher
from descope_native.cookies import make_cookies
from descope_native.http_answer import answer_for

SETTINGS = {name: value for name, value in os.environ.items() if value}  # an empty one is not given


@asynccontextmanager
async def lifespan(app: Litestar) -> AsyncIterator[None]:
    async with NativeOAuthFinisher.open(
        SETTINGS["DESCOPE_PROJECT_ID"],
        base_url=SETTINGS.get("DESCOPE_BASE_URI"),
        timeout=float(SETTINGS.get("SIGN_IN_TIMEOUT", "15")),
    ) as app.state.finisher:
        yield


async def get_finisher(state: State) -> NativeOAuthFinisher:
    finisher: NativeOAuthFinisher = state.finisher
    return finisher


@attrs.frozen
class SignIn:
    provider: str
    state_id: str
    code: str | None = None
    id_token: str | None = None
    user: str | None = None


@post("/sign-in", status_code=200)
async def sign_in(
    data: JSONBody[SignIn], finisher: NamedDependency[NativeOAuthFinisher]
) -> Response[dict[str, bool | None]]:
    result = await finisher.finish(**attrs.asdict(data))
    response = Response({"first_seen": result.first_seen})
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
