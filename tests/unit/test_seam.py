"""The seam's own classes: what a transport is given and gives back."""

import pickle
from typing import Any

import attrs
import pytest
from kit.support import APPLE, CODE, GOOGLE, ID_TOKEN, PROJECT, STATE, only
from multidict import CIMultiDict
from yarl import URL

from descope_native import HttpRequest, HttpResponse, InMemoryTransport, NativeOAuthFinisher
from descope_native.transports import Progress

COOKIES = [("Set-Cookie", "DS=1"), ("X-Other", "x"), ("set-cookie", "DSR=2"), ("SET-COOKIE", "DS=3")]


@pytest.mark.parametrize("name", ["Set-Cookie", "set-cookie", "SET-COOKIE"])
def test_headers_are_found_in_any_case_and_none_is_lost(name: str) -> None:
    """Two lines of one name stay two, in the order they came."""
    response = HttpResponse(200, COOKIES)
    assert response.header_values(name) == ["DS=1", "DSR=2", "DS=3"]
    assert response.header(name) == "DS=1"


def test_a_header_that_is_not_there_is_none() -> None:
    """And no values at all."""
    assert HttpResponse(200, COOKIES).header("cf-ray") is None
    assert HttpResponse(200, COOKIES).header("Set-Cakies") is None
    assert HttpResponse(200, COOKIES).header("X-Set-Cookie") is None
    assert HttpResponse(200).header_values("cf-ray") == []


def test_a_response_takes_a_mapping_too() -> None:
    """Which is what comes to mind where no name is repeated; also a multi-valued one, with all its values."""
    assert HttpResponse(429, {"Retry-After": "3"}) == HttpResponse(429, [("Retry-After", "3")])
    assert HttpResponse(200, CIMultiDict(COOKIES)).headers == tuple(COOKIES)


@pytest.mark.parametrize("kind", [list, tuple, iter])
def test_a_response_takes_its_pairs_from_anything(kind: Any) -> None:
    """And keeps them as a tuple, so that nobody changes them later."""
    response = HttpResponse(200, kind(COOKIES))
    assert response.headers == tuple(COOKIES)
    assert hash(response) == hash(HttpResponse(200, COOKIES))
    assert pickle.loads(pickle.dumps(response)) == response


async def sent(arguments: dict[str, Any]) -> HttpRequest:
    transport = InMemoryTransport(lambda _: HttpResponse(200, (), b'{"sessionJwt": "canary"}'))
    await NativeOAuthFinisher(PROJECT, transport, auth_management_key="canary").finish(**arguments)
    request = only(transport.requests)
    assert isinstance(request, HttpRequest)
    return request


@pytest.mark.parametrize("arguments", [GOOGLE, APPLE], ids=["google", "apple"])
async def test_reprs_show_neither_headers_nor_bodies(arguments: dict[str, Any]) -> None:
    """Both hold secrets: the bearer, the code, the tokens."""
    request = await sent(arguments)
    response = HttpResponse(200, [("Set-Cookie", "DS=canary")], b"canary")
    for text in (repr(request), repr(response), repr(request.progress)):
        for secret in (STATE, CODE, ID_TOKEN, "canary", "Bearer"):
            assert secret not in text
    assert "api.descope.com" in repr(request)
    assert "progress" not in repr(request)
    assert "200" in repr(response)


async def test_a_request_is_frozen_and_equal_by_value() -> None:
    """But for how far it has got, which a transport writes down as it goes."""
    request = await sent(GOOGLE)
    twin = attrs.evolve(request, progress=Progress())
    assert twin == request
    assert hash(twin) == hash(request)
    assert twin != attrs.evolve(request, url=URL("https://other.example"))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        request.body = b""  # type: ignore[misc]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        HttpResponse(200).status = 500  # type: ignore[misc]


def test_a_transport_that_tells_nothing_has_proved_nothing() -> None:
    """Progress starts at `send`: from there on the request may have reached somebody."""
    assert len({Progress(), Progress()}) == 2
    assert Progress().phase == "send"
