"""Native sign-in with Sanic: sanic sanic_app:app"""

import os
from contextlib import AsyncExitStack

from sanic import HTTPResponse, Request, Sanic, json
from sanic.exceptions import BadRequest

from descope_native import DescopeNativeError, NativeOAuthFinisher
from descope_native.cookies import make_cookies
from descope_native.http_answer import answer_for

SETTINGS = {name: value for name, value in os.environ.items() if value}  # an empty one is not given
app = Sanic("SignIn")


@app.before_server_start
async def open_finisher(app: Sanic) -> None:
    app.ctx.opened = AsyncExitStack()
    app.ctx.finisher = await app.ctx.opened.enter_async_context(
        NativeOAuthFinisher.open(
            SETTINGS["DESCOPE_PROJECT_ID"],
            base_url=SETTINGS.get("DESCOPE_BASE_URI"),
            timeout=float(SETTINGS.get("SIGN_IN_TIMEOUT", "15")),
        )
    )


@app.after_server_stop
async def close_finisher(app: Sanic) -> None:
    await app.ctx.opened.aclose()


@app.post("/sign-in")
async def sign_in(request: Request) -> HTTPResponse:
    if not isinstance(request.json, dict):
        raise BadRequest
    proof = {name: request.json.get(name) for name in ("provider", "state_id", "code", "id_token", "user")}
    result = await request.app.ctx.finisher.finish(**proof)
    response = json({"first_seen": result.first_seen})
    for cookie in make_cookies(result):
        response.add_cookie(cookie.name, cookie.value, **cookie.attributes)
    return response


@app.exception(DescopeNativeError)
async def refuse(request: Request, error: DescopeNativeError) -> HTTPResponse:
    answer = answer_for(error)
    return HTTPResponse(answer.content, answer.status, answer.headers)
