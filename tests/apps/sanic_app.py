"""Native sign-in with Sanic: sanic sanic_app:app"""

from contextlib import AsyncExitStack

from native_sign_in import open_finisher, read_proof, summarize
from sanic import HTTPResponse, Request, Sanic, json

from descope_native import DescopeNativeError
from descope_native.cookies import make_cookies
from descope_native.http_answer import answer_for

app = Sanic("SignIn")


@app.before_server_start
async def start(app: Sanic) -> None:
    app.ctx.opened = AsyncExitStack()
    app.ctx.finisher = await app.ctx.opened.enter_async_context(open_finisher())


@app.after_server_stop
async def stop(app: Sanic) -> None:
    await app.ctx.opened.aclose()


@app.post("/sign-in")
async def sign_in(request: Request) -> HTTPResponse:
    result = await request.app.ctx.finisher.finish(**read_proof(request.content_type, request.body))
    response = json(summarize(result))
    for cookie in make_cookies(result):
        response.add_cookie(cookie.name, cookie.value, **cookie.attributes)
    return response


@app.exception(DescopeNativeError)
async def refuse(request: Request, error: DescopeNativeError) -> HTTPResponse:
    answer = answer_for(error)
    return HTTPResponse(answer.content, answer.status, answer.headers)
