"""What an error says, to the word: a changed text is a changed error to whoever searches for it."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from kit.support import PROJECT, STATE

from descope_native import (
    AppleUser,
    FinishRequest,
    FinishResult,
    HttpRequest,
    HttpResponse,
    InvalidRequestError,
    NativeOAuthFinisher,
    Retry,
)
from descope_native.cookies import make_cookies
from descope_native.transports.aiohttp import AiohttpTransport


class Nowhere:
    """A transport for finishers that are refused before they use it."""

    async def send(self, request: HttpRequest, /) -> HttpResponse:
        raise AssertionError


def finisher(project_id: Any = PROJECT, **options: Any) -> NativeOAuthFinisher:
    return NativeOAuthFinisher(project_id, Nowhere(), **options)


def enter(opening: AbstractAsyncContextManager[object]) -> None:
    async def entering() -> None:
        await opening.__aenter__()

    asyncio.run(entering())


def request(**options: Any) -> FinishRequest:
    return FinishRequest(**{"provider": "apple", "state_id": STATE, "code": "c", **options})


REGION = "P" + "-" * 40
NO_URL = "base_url must be a URL, in the characters of RFC 3986"
NO_WEB = "base_url must be an absolute http or https URL"
ONE_PROOF = "exactly one of code and id_token must be given"
REFUSALS: list[tuple[Callable[[], object], str]] = [
    (lambda: finisher("a b"), "project_id must be a token of printable ASCII, like P2abc…"),
    (lambda: finisher(None), "project_id must be a token of printable ASCII, like P2abc…"),
    (lambda: finisher(REGION), "project_id names no region right after its first character"),
    (
        lambda: finisher(auth_management_key="a b"),
        "auth_management_key must be printable ASCII without spaces",
    ),
    (lambda: finisher(auth_management_key=1), "auth_management_key must be printable ASCII without spaces"),
    (lambda: finisher(base_url="https://a b"), NO_URL),
    (lambda: finisher(base_url=1), NO_URL),
    (lambda: finisher(base_url="https://a:99999"), "base_url is not a URL"),
    (lambda: finisher(base_url="ftp://a"), NO_WEB),
    (lambda: finisher(base_url="a/b"), NO_WEB),
    (lambda: finisher(base_url="https://u@a"), "base_url must not hold a user name or password"),
    (lambda: finisher(base_url="https://:p@a"), "base_url must not hold a user name or password"),
    (lambda: finisher(base_url="https://@a"), "base_url must not hold a user name or password"),
    (lambda: finisher(base_url="https://u@a/x://y"), "base_url must not hold a user name or password"),
    (lambda: finisher(base_url="https://a?"), "base_url must not hold a query or fragment"),
    (lambda: finisher(base_url="https://a#"), "base_url must not hold a query or fragment"),
    (
        lambda: finisher(base_url="http://a"),
        "base_url must be https, or a loopback address (allow_http=True insists)",
    ),
    (
        lambda: NativeOAuthFinisher(PROJECT, None),  # type: ignore[arg-type]
        "transport must have send(); enter AiohttpTransport.open() first",
    ),
    (lambda: finisher(retry=1), "retry must be a Retry or None"),
    (lambda: finisher(timeout=0), "timeout must be seconds, more than 0"),
    (lambda: Retry(attempts=0), "attempts must be a whole number, 1 at least"),
    (lambda: Retry(initial=0), "initial and maximum must be seconds, 0 < initial <= maximum"),
    (lambda: AppleUser(given_name=1), "given_name must be a string, 4096 characters at most, or None"),  # type: ignore[arg-type]
    (lambda: request(provider=""), "provider is empty"),
    (lambda: request(state_id=""), "state_id is empty"),
    (lambda: finisher(""), "project_id is empty"),
    (
        lambda: request(state_id=" "),
        "state_id must be text that is not blank, 65536 characters of UTF-8 at most",
    ),
    (
        lambda: request(code=" "),
        "code must be text that is not blank, 65536 characters of UTF-8 at most, or None",
    ),
    (lambda: request(id_token="t"), ONE_PROOF),
    (lambda: request(code=None), ONE_PROOF),
    (
        lambda: request(user="x"),
        "user must be an AppleUser or the JSON text of an object, 4096 characters and 64 brackets at most",
    ),
    (
        lambda: enter(AiohttpTransport.open(ssl=1)),  # type: ignore[arg-type]
        "ssl must be a bool, an SSLContext or an aiohttp.Fingerprint",
    ),
    (lambda: enter(AiohttpTransport.open(limit=-1)), "limit must be a whole number, 0 at least"),
    (lambda: enter(AiohttpTransport.open(proxy="x")), "proxy must be an absolute http or https URL"),
    (
        lambda: AiohttpTransport(None),  # type: ignore[arg-type]
        "session must be an aiohttp.ClientSession",
    ),
]


@pytest.mark.parametrize(("refused", "text"), REFUSALS, ids=[text for _, text in REFUSALS])
def test_a_refusal_names_what_is_wrong(refused: Callable[[], object], text: str) -> None:
    """The argument and the rule, and not the value."""
    with pytest.raises(InvalidRequestError) as caught:
        refused()
    assert str(caught.value) == caught.value.problem == text
    assert caught.value.args == (text,)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"samesite": "Lax"}, "samesite must be 'lax', 'strict' or 'none'"),
        ({"samesite": "none", "secure": False}, "samesite='none' needs secure=True"),
    ],
)
def test_an_option_that_no_browser_takes_is_named(options: dict[str, Any], text: str) -> None:
    """With what would do instead."""
    with pytest.raises(ValueError, match="samesite") as caught:
        make_cookies(FinishResult(session_jwt="s"), **options)
    assert str(caught.value) == text


def test_an_extra_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs it."""
    monkeypatch.setitem(__import__("sys").modules, "tenacity", None)
    with pytest.raises(ModuleNotFoundError) as caught:
        Retry()
    assert str(caught.value) == "Retry needs tenacity: pip install 'descope_native[retry]'"
