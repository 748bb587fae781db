"""The whole native sign-in with FastAPI, start and finish: uvicorn fastapi_start_app:app

With more than one worker (``--workers 2``), set ``REDIS_URL``: there they meet.

What start gave is bound to the device in a signed cookie that ends after ten minutes. Otherwise a
stranger could have a victim's device finish the stranger's sign-in, and the victim would go on as the
stranger (login CSRF, RFC 9700 §4.7).
"""

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from itsdangerous import BadData, URLSafeTimedSerializer
from native_sign_in import from_environment, summarize
from pydantic import BaseModel, Field
from redis.asyncio import BlockingConnectionPool, Redis

from descope_native import (
    AiohttpTransport,
    DescopeNativeError,
    InvalidRequestError,
    NativeOAuthFinisher,
    NativeOAuthStarter,
    SingleFlight,
    UnexpectedResponse,
)
from descope_native.cookies import make_cookies
from descope_native.http_answer import answer_for
from descope_native.single_flight import RedisStore

log = logging.getLogger(__name__)

# Browsers take the name only from this very host, over https: no other site can plant one.
COOKIE = "__Host-sign-in"
COOKIE_ATTRIBUTES: dict[str, Any] = {"path": "/", "secure": True, "httponly": True, "samesite": "strict"}
LIFETIME = 600  # seconds that the person has for the dialog


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    secret = os.environ.get("SIGN_IN_SECRET", "")
    if len(secret) < 32:
        raise ValueError("SIGN_IN_SECRET must be 32 characters or more, the same for every worker")
    async with AiohttpTransport.open() as transport, open_single_flight() as single_flight:
        finisher = partial(NativeOAuthFinisher, single_flight=single_flight)
        yield {
            "starter": from_environment(NativeOAuthStarter, transport),
            "finisher": from_environment(finisher, transport),
            "seal": URLSafeTimedSerializer(secret, salt="native sign-in"),
        }


@asynccontextmanager
async def open_single_flight() -> AsyncIterator[SingleFlight]:
    """A second tap gets what the first one got, from this worker or through the store from another."""
    url = os.environ.get("REDIS_URL")
    if not url:
        yield SingleFlight()
        return
    async with Redis.from_pool(BlockingConnectionPool.from_url(url)) as redis:
        yield SingleFlight(store=RedisStore(redis))


async def get_starter(request: Request) -> NativeOAuthStarter:
    starter: NativeOAuthStarter = request.state.starter
    return starter


async def get_finisher(request: Request) -> NativeOAuthFinisher:
    finisher: NativeOAuthFinisher = request.state.finisher
    return finisher


async def get_seal(request: Request) -> URLSafeTimedSerializer:
    seal: URLSafeTimedSerializer = request.state.seal
    return seal


Starter = Annotated[NativeOAuthStarter, Depends(get_starter)]
Finisher = Annotated[NativeOAuthFinisher, Depends(get_finisher)]
Seal = Annotated[URLSafeTimedSerializer, Depends(get_seal)]


class Begin(BaseModel):
    provider: Literal["apple", "google"]


class Begun(BaseModel):
    provider: str
    state_id: str = Field(repr=False)  # or collectors of errors, which record variables, would have it
    nonce: str | None = Field(repr=False)


class Proof(BaseModel):
    code: str | None = Field(None, repr=False)
    id_token: str | None = Field(None, repr=False)
    user: str | None = Field(None, repr=False)


async def get_begun(request: Request, seal: Seal) -> Begun:
    """What this device has started."""
    try:
        return Begun(**seal.loads(request.cookies.get(COOKIE, ""), max_age=LIFETIME))
    except BadData:
        pass
    raise InvalidRequestError("this device has started no sign-in, or too long ago", "state_id")


app = FastAPI(lifespan=lifespan)


@app.post("/sign-in/start")
async def start(
    body: Begin, response: Response, starter: Starter, seal: Seal
) -> dict[str, str | bool | None]:
    started = await starter.start(provider=body.provider)
    if started.client_id is None or started.nonce is None:  # the phone could not go on
        failure = UnexpectedResponse(200, "the start came without client_id or nonce")
        failure.spends_nothing = True
        raise failure
    begun = Begun(provider=body.provider, state_id=started.state_id, nonce=started.nonce)
    sealed = seal.dumps(begun.model_dump())
    response.set_cookie(COOKIE, sealed, max_age=LIFETIME, **COOKIE_ATTRIBUTES)
    return {"client_id": started.client_id, "nonce": started.nonce, "implicit": started.implicit}


@app.post("/sign-in/finish")
async def finish(
    body: Proof, response: Response, finisher: Finisher, begun: Annotated[Begun, Depends(get_begun)]
) -> dict[str, Any]:
    result = await finisher.finish(**begun.model_dump(), **body.model_dump())
    for cookie in make_cookies(result):
        response.set_cookie(cookie.name, cookie.value, **cookie.attributes)
    return summarize(result)


@app.exception_handler(DescopeNativeError)
async def refuse(request: Request, error: DescopeNativeError) -> Response:
    log.info("%s: %s", request.url.path, error)  # also where this application refuses, and calls nobody
    answer = answer_for(error)
    response = Response(answer.content, answer.status, answer.headers)
    if answer.next == "start_over":
        response.delete_cookie(COOKIE, **COOKIE_ATTRIBUTES)
    return response


@app.exception_handler(400)  # a body that cannot be read
@app.exception_handler(RequestValidationError)  # FastAPI's own answer would quote the body, code and all
async def refuse_body(request: Request, error: Exception) -> Response:
    return await refuse(request, InvalidRequestError("the body is not what it has to be"))
