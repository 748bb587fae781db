"""Native sign-in where a phone may send its proof again: uvicorn resubmits_app:app --workers 2"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import fastapi_app
from fastapi import FastAPI
from native_sign_in import from_environment
from redis.asyncio import BlockingConnectionPool, Redis

from descope_native import AiohttpTransport, NativeOAuthFinisher, SingleFlight
from descope_native.single_flight import RedisStore


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, NativeOAuthFinisher]]:
    if not (url := os.environ.get("REDIS_URL")):
        raise RuntimeError("set REDIS_URL, for example to redis://localhost")
    pool = BlockingConnectionPool.from_url(url)
    async with Redis.from_pool(pool) as redis, AiohttpTransport.open() as transport:
        finisher = partial(NativeOAuthFinisher, single_flight=SingleFlight(store=RedisStore(redis)))
        yield {"finisher": from_environment(finisher, transport)}


app = FastAPI(
    lifespan=lifespan,
    routes=fastapi_app.app.routes,
    exception_handlers=dict[Any, Any](fastapi_app.app.exception_handlers),
)
