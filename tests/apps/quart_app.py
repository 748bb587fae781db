"""Native sign-in with Quart: hypercorn quart_app:app"""

import json
import os
from collections.abc import AsyncGenerator

from quart import Quart, Response, abort, current_app, jsonify, request

from descope_native import DescopeNativeError, NativeOAuthFinisher
from descope_native.cookies import make_cookies
from descope_native.http_answer import answer_for

SETTINGS = {name: value for name, value in os.environ.items() if value}  # an empty one is not given
app = Quart(__name__)


@app.while_serving
async def open_finisher() -> AsyncGenerator[None, None]:
    async with NativeOAuthFinisher.open(
        SETTINGS["DESCOPE_PROJECT_ID"],
        base_url=SETTINGS.get("DESCOPE_BASE_URI"),
        timeout=float(SETTINGS.get("SIGN_IN_TIMEOUT", "15")),
    ) as app.extensions["finisher"]:
        yield


@app.post("/sign-in")
async def sign_in() -> Response:
    try:
        body = json.loads(await request.get_data())
        proof = {name: body.get(name) for name in ("provider", "state_id", "code", "id_token", "user")}
    except (ValueError, AttributeError):
        abort(400)
    result = await current_app.extensions["finisher"].finish(**proof)
    response = jsonify(first_seen=result.first_seen)
    for cookie in make_cookies(result):
        response.set_cookie(cookie.name, cookie.value, **cookie.attributes)
    return response


@app.errorhandler(DescopeNativeError)
async def refuse(error: DescopeNativeError) -> Response:
    answer = answer_for(error)
    return Response(answer.content, answer.status, answer.headers)
