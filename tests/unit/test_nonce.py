"""The nonce that start gave, compared with the one in the id token before anything is sent."""

import base64
import hashlib
import json
from typing import Any

import pytest
from kit.support import PROJECT, as_json

from descope_native import HttpResponse, InMemoryTransport, InvalidRequestError, NativeOAuthFinisher, Outcome

NONCE = "nonce-0003"  # its hash has both signs that base64url spells otherwise
HASH = hashlib.sha256(NONCE.encode()).digest()


def id_token(**claims: Any) -> str:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{payload}.c2ln"


def finisher() -> tuple[NativeOAuthFinisher, InMemoryTransport]:
    answer = HttpResponse(200, (), as_json({"sessionJwt": "s.e.s"}))
    transport = InMemoryTransport(lambda _: answer)
    return NativeOAuthFinisher(PROJECT, transport), transport


@pytest.mark.parametrize(
    "proof",
    [
        {"id_token": id_token(nonce=NONCE), "nonce": NONCE},
        {"id_token": "no.jwt", "nonce": NONCE},
        {"id_token": "no.jwt.either", "nonce": NONCE},
        {"id_token": f"e30.{base64.urlsafe_b64encode(b'[1]').decode()}.x", "nonce": NONCE},
        {"code": "code", "nonce": NONCE},
        {"id_token": id_token(nonce="another"), "nonce": None},
        {"id_token": id_token(nonce="another"), "nonce": ""},
    ],
    ids=["the same", "two parts", "no JSON", "no claims", "a code", "none given", "an empty one given"],
)
async def test_a_proof_with_nothing_wrong_goes_out(proof: dict[str, Any]) -> None:
    """The nonce itself is not sent. An id token that is no JWT is the service's to judge."""
    finishing, transport = finisher()
    result = await finishing.finish(provider="google", state_id="s", **proof)
    assert result.session_jwt == "s.e.s"
    assert "nonce" not in json.loads(transport.requests[0].body)


@pytest.mark.parametrize(
    ("claims", "problem"),
    [
        ({}, "has no nonce"),
        ({"nonce": None}, "has no nonce"),
        ({"nonce": ""}, "has no nonce"),
        ({"nonce": HASH.hex()}, "holds the SHA-256 of the nonce"),
        ({"nonce": HASH.hex().upper()}, "holds the SHA-256 of the nonce"),
        ({"nonce": base64.b64encode(HASH).decode()}, "holds the SHA-256 of the nonce"),
        ({"nonce": base64.urlsafe_b64encode(HASH).decode().rstrip("=")}, "holds the SHA-256 of the nonce"),
        ({"nonce": base64.b64encode(HASH[::-1]).decode()}, "holds another nonce"),
        ({"nonce": "another"}, "holds another nonce"),
        ({"nonce": 5}, "holds another nonce"),
        ({"nonce": NONCE + " "}, "holds another nonce"),
    ],
    ids=[
        *("none", "null", "empty", "hashed", "hashed, upper case", "hashed, base64", "hashed, base64url"),
        *("another hash", "another", "a number", "longer"),
    ],
)
async def test_another_nonce_is_refused_before_anything_is_sent(claims: dict[str, Any], problem: str) -> None:
    """The error says which of the three it is, and has neither nonce nor token."""
    finishing, transport = finisher()
    with pytest.raises(InvalidRequestError) as caught:
        await finishing.finish(provider="google", state_id="s", id_token=id_token(**claims), nonce=NONCE)
    assert str(caught.value).startswith(f"id_token {problem}")
    assert (caught.value.argument, caught.value.outcome) == ("id_token", Outcome.NOT_SENT)
    assert NONCE not in str(caught.value)
    assert transport.requests == []
