"""Native sign-in with Quart: hypercorn quart_app:app"""

from collections.abc import AsyncGenerator

from native_sign_in import open_finisher, read_proof, summarize
from quart import Quart, Response, current_app, jsonify, request

from descope_native import DescopeNativeError
from descope_native.cookies import make_cookies
from descope_native.http_answer import answer_for

app = Quart(__name__)


@app.while_serving
async def lifespan() -> AsyncGenerator[None, None]:
    async with open_finisher() as app.extensions["finisher"]:
        yield


@app.post("/sign-in")
async def sign_in() -> Response:
    finisher = current_app.extensions["finisher"]
    result = await finisher.finish(**read_proof(request.content_type, await request.get_data()))
    response = jsonify(summarize(result))
    for cookie in make_cookies(result):
        response.set_cookie(cookie.name, cookie.value, **cookie.attributes)
    return response


@app.errorhandler(DescopeNativeError)
async def refuse(error: DescopeNativeError) -> Response:
    answer = answer_for(error)
    return Response(answer.content, answer.status, answer.headers)
