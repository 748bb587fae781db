"""Native sign-in with aiohttp.web: python -m aiohttp.web aiohttp_app:create_app"""

from collections.abc import AsyncIterator

from aiohttp import web
from aiohttp.typedefs import Handler
from native_sign_in import open_finisher, read_proof, summarize

from descope_native import DescopeNativeError, NativeOAuthFinisher
from descope_native.cookies import make_cookies
from descope_native.http_answer import answer_for

FINISHER = web.AppKey("finisher", NativeOAuthFinisher)


async def lifespan(app: web.Application) -> AsyncIterator[None]:
    async with open_finisher() as app[FINISHER]:
        yield


async def sign_in(request: web.Request) -> web.Response:
    result = await request.app[FINISHER].finish(**read_proof(request.content_type, await request.read()))
    response = web.json_response(summarize(result))
    for cookie in make_cookies(result):
        response.set_cookie(cookie.name, cookie.value, **cookie.attributes)
    return response


@web.middleware
async def refuse(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except DescopeNativeError as error:
        answer = answer_for(error)
        return web.Response(body=answer.content, status=answer.status, headers=answer.headers)
    except ConnectionResetError:  # the body was cut off, and nobody is there to read an answer
        return web.Response(status=400)


def create_app(argv: list[str]) -> web.Application:
    # A body is read as it comes: what aiohttp cannot decompress would end with 500 and a traceback.
    app = web.Application(middlewares=[refuse], handler_args={"auto_decompress": False})
    app.cleanup_ctx.append(lifespan)
    app.router.add_post("/sign-in", sign_in)
    return app
