"""Native sign-in with FastAPI: uvicorn fastapi_app:app"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from native_sign_in import open_finisher, summarize
from pydantic import BaseModel, Field

from descope_native import DescopeNativeError, InvalidRequestError, NativeOAuthFinisher
from descope_native.cookies import make_cookies
from descope_native.http_answer import answer_for


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, NativeOAuthFinisher]]:
    async with open_finisher() as finisher:
        yield {"finisher": finisher}


async def get_finisher(request: Request) -> NativeOAuthFinisher:
    finisher: NativeOAuthFinisher = request.state.finisher
    return finisher


class SignIn(BaseModel):
    provider: str
    state_id: str = Field(repr=False)  # or collectors of errors, which record variables, would have it
    code: str | None = Field(None, repr=False)
    id_token: str | None = Field(None, repr=False)
    user: str | None = Field(None, repr=False)


class SignedIn(BaseModel):
    first_seen: bool | None
    email: str | None
    roles: tuple[str, ...]
    attributes: dict[str, Any]


app = FastAPI(lifespan=lifespan)


@app.post("/sign-in")
async def sign_in(
    body: SignIn, response: Response, finisher: Annotated[NativeOAuthFinisher, Depends(get_finisher)]
) -> SignedIn:
    result = await finisher.finish(**body.model_dump())
    for cookie in make_cookies(result):
        response.set_cookie(cookie.name, cookie.value, **cookie.attributes)
    return SignedIn(**summarize(result))


@app.exception_handler(DescopeNativeError)
async def refuse(request: Request, error: DescopeNativeError) -> Response:
    answer = answer_for(error)
    return Response(answer.content, answer.status, answer.headers)


@app.exception_handler(400)  # a body that cannot be read
@app.exception_handler(RequestValidationError)  # FastAPI's own answer would quote the body, code and all
async def refuse_body(request: Request, error: Exception) -> Response:
    return await refuse(request, InvalidRequestError("the body is no sign-in"))
