"""An endpoint for those who are signed in, beside the sign-in: uvicorn signed_in_app:app"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import aiohttp
import fastapi_app
from fastapi import Depends, FastAPI, HTTPException, Request
from native_sign_in import open_finisher
from session_check import InvalidSession, KeysUnavailable, SessionCheck


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    async with open_finisher() as finisher, aiohttp.ClientSession() as http:
        check = SessionCheck(http, finisher.project_id, finisher.base_url)
        yield {"finisher": finisher, "check": check}


async def get_claims(request: Request) -> dict[str, Any]:
    try:
        # The cookie has this name unless the project gives it another.
        claims: dict[str, Any] = await request.state.check(request.cookies.get("DS", ""))
    except InvalidSession:
        raise HTTPException(401) from None
    except KeysUnavailable:
        raise HTTPException(503) from None
    return claims


app = FastAPI(
    lifespan=lifespan,
    routes=fastapi_app.app.routes,
    exception_handlers=dict[Any, Any](fastapi_app.app.exception_handlers),
)


@app.get("/me")
async def me(claims: Annotated[dict[str, Any], Depends(get_claims)]) -> dict[str, str]:
    return {"user_id": claims["sub"]}
