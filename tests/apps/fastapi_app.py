"""Native sign-in with FastAPI: uvicorn fastapi_app:app"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, Request, Response
from pydantic import BaseModel

from descope_native import DescopeNativeError, NativeOAuthFinisher
from descope_native.cookies import make_cookies
from descope_native.http_answer import answer_for

SETTINGS = {name: value for name, value in os.environ.items() if value}  # an empty one is not given


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, NativeOAuthFinisher]]:
    async with NativeOAuthFinisher.open(
        SETTINGS["DESCOPE_PROJECT_ID"],
        base_url=SETTINGS.get("DESCOPE_BASE_URI"),
        timeout=float(SETTINGS.get("SIGN_IN_TIMEOUT", "15")),
    ) as finisher:
        yield {"finisher": finisher}


async def get_finisher(request: Request) -> NativeOAuthFinisher:
    finisher: NativeOAuthFinisher = request.state.finisher
    return finisher


class SignIn(BaseModel):
    provider: str
    state_id: str
    code: str | None = None
    id_token: str | None = None
    user: str | None = None


app = FastAPI(lifespan=lifespan)


@app.post("/sign-in")
async def sign_in(
    body: SignIn, response: Response, finisher: Annotated[NativeOAuthFinisher, Depends(get_finisher)]
) -> dict[str, bool | None]:
    result = await finisher.finish(**body.model_dump())
    for cookie in make_cookies(result):
        response.set_cookie(cookie.name, cookie.value, **cookie.attributes)
    return {"first_seen": result.first_seen}


@app.exception_handler(DescopeNativeError)
async def refuse(request: Request, error: DescopeNativeError) -> Response:
    answer = answer_for(error)
    return Response(answer.content, answer.status, answer.headers)
