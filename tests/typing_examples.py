"""Calls as people write them, for mypy and pyright to judge (`nox -s types`). Nothing here is run.

What must be refused has a `type: ignore`, and both checkers complain about one that is not needed.
"""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import assert_type

import aiohttp
from cattrs import Converter

from descope_native import (
    AiohttpTransport,
    AppleUser,
    DescopeNativeError,
    Drift,
    FinishRequest,
    FinishResult,
    HttpRequest,
    HttpResponse,
    IdpResponse,
    InMemoryTransport,
    NativeOAuthFinisher,
    Outcome,
    RateLimitedError,
    RejectedError,
    ResponseError,
    Retry,
    Transport,
    User,
    UserTenant,
)
from descope_native.converters import make_converter
from descope_native.cookies import make_cookies
from descope_native.http_status import status_for
from descope_native.testing import FakeDescope


async def finish_with_a_finisher_of_its_own() -> None:
    async with NativeOAuthFinisher.open("P2abc", timeout=3, retry=Retry(attempts=2)) as finisher:
        assert_type(finisher, NativeOAuthFinisher)
        result = await finisher.finish(provider="google", state_id="s", id_token="t")
        assert_type(result, FinishResult)
        name = AppleUser(given_name="Ada")
        await finisher.finish(provider="apple", state_id="s", code="c", user=name, timeout=0.5)
        await finisher.finish(provider="apple", state_id="s", code="c", user='{"name": {}}')
        await finisher.finish(provider="google", id_token="t")  # type: ignore[call-arg]  # state_id is missing
        await finisher.finish("google", "s", id_token="t")  # type: ignore[call-arg]  # by keyword only
        await finisher.finish(provider="google", state_id=1, id_token="t")  # type: ignore[arg-type]  # a number


def read_the_result(result: FinishResult) -> None:
    assert_type(result.session_jwt, str)
    assert_type(result.refresh_jwt, str | None)
    assert_type(result.user, User | None)
    assert_type(result.first_seen, bool | None)
    assert_type(result.cookie_max_age, int | None)
    assert_type(result.session_expires_at, datetime | None)
    assert_type(result.idp_response, IdpResponse | None)
    assert_type(result.drift, tuple[Drift, ...])
    assert result.user
    assert_type(result.user.email, str | None)
    assert_type(result.user.verified_email, bool)
    assert_type(result.user.user_tenants, tuple[UserTenant, ...])
    assert_type(result.user.oauth, Mapping[str, bool])
    result.session_jwt = ""  # type: ignore[misc]  # frozen
    result.user.custom_attributes["plan"] = "x"  # type: ignore[index]  # frozen all the way down


def read_the_error(error: DescopeNativeError) -> None:
    assert_type(error.outcome, Outcome)
    assert_type(error.safe_to_retry, bool)
    assert_type(status_for(error), int)
    if isinstance(error, ResponseError):
        assert_type(error.status, int)
        assert_type(error.trace_id, str | None)
    if isinstance(error, RateLimitedError):
        assert_type(error.retry_after, float | None)
        refused: RejectedError = error
        assert_type(refused.code, str | None)


def choose_a_transport(session: aiohttp.ClientSession, fake: FakeDescope) -> None:
    NativeOAuthFinisher("P2abc", AiohttpTransport(session), base_url="https://auth.example.com")
    NativeOAuthFinisher("P2abc", InMemoryTransport(fake), auth_management_key="k", strict=True)
    assert_type(AiohttpTransport.open(limit=10), AbstractAsyncContextManager[AiohttpTransport])
    InMemoryTransport(lambda _: HttpResponse(200, [("cf-ray", "1")], b"{}"))
    NativeOAuthFinisher("P2abc", session)  # type: ignore[arg-type]  # a session is no transport
    InMemoryTransport(lambda _: b"{}")  # type: ignore[arg-type, return-value]  # nor are bytes an answer


class OneOfMyOwn:
    async def send(self, request: HttpRequest, /) -> HttpResponse:
        return HttpResponse(503 if request.timeout < 1 else 429)


class NoTransport:
    def send(self, request: HttpRequest, /) -> HttpResponse:
        return HttpResponse(len(request.body))


mine: Transport = OneOfMyOwn()
not_mine: Transport = NoTransport()  # type: ignore[assignment]  # sync


def convert(result: FinishResult) -> None:
    converter = make_converter()
    assert_type(converter, Converter)
    assert_type(converter.structure({"sessionJwt": "t"}, FinishResult), FinishResult)
    FinishRequest(provider="google", state_id="s", id_token="t")
    FinishRequest("google", "s")  # type: ignore[call-arg]  # by keyword only
    for cookie in make_cookies(result):
        assert_type(cookie.value, str)
        assert_type(cookie.attributes["max_age"], int | None)
