"""What the stand-in has beside the service: what Python code says to it, for other programs."""

from typing import TYPE_CHECKING

import attrs

from descope_native.testing._faults import Fault, read_fault
from descope_native.testing._json import Json, json_response, optional, read_object, required
from descope_native.testing._openapi import (
    CALLS,
    DESCRIPTION,
    FAIL_NEXT,
    HEALTH,
    PHONE,
    RESET,
    SIGN_IN,
    openapi,
)
from descope_native.testing._phone import Proof
from descope_native.transports import HttpRequest, HttpResponse

if TYPE_CHECKING:
    from descope_native.testing._fake import FakeDescope
    from descope_native.testing._service import Routes


class Control:
    """The phone, the faults and the record of a stand-in, as paths and JSON."""

    def __init__(self, fake: "FakeDescope") -> None:
        self._fake = fake

    def routes(self) -> "Routes":
        """Everything that is answered to anybody."""
        return {
            HEALTH: ("GET", self._health),
            SIGN_IN: ("POST", self._sign_in),
            PHONE: ("POST", self._phone),
            FAIL_NEXT: ("POST", self._fail_next),
            CALLS: ("GET", self._list_calls),
            RESET: ("POST", self._reset),
            DESCRIPTION: ("GET", self._describe_itself),
        }

    def _health(self, _: HttpRequest, __: Fault) -> HttpResponse:
        return json_response({"status": "ok"})

    def _sign_in(self, request: HttpRequest, _: Fault) -> HttpResponse:
        body = read_object(request.body)
        proof = self._fake.sign_in(
            required(body, "provider") if "provider" in body else "google",
            implicit=optional(body, "implicit", bool) or False,
            user=optional(body, "user", dict),
        )
        return _handed_over(proof)

    def _phone(self, request: HttpRequest, _: Fault) -> HttpResponse:
        body = read_object(request.body)
        proof = self._fake.phone(
            body,
            user=optional(body, "user", dict),
            hash_nonce=optional(body, "hashNonce", bool) or False,
            send_nonce=optional(body, "sendNonce", bool) is not False,
        )
        return _handed_over(proof)

    def _fail_next(self, request: HttpRequest, _: Fault) -> HttpResponse:
        self._fake.fail_next(read_fault(read_object(request.body)))
        return json_response({})

    def _list_calls(self, _: HttpRequest, __: Fault) -> HttpResponse:
        return json_response({"calls": [attrs.asdict(call) for call in self._fake.calls]})

    def _reset(self, _: HttpRequest, __: Fault) -> HttpResponse:
        self._fake.reset()
        return json_response({})

    def _describe_itself(self, _: HttpRequest, __: Fault) -> HttpResponse:
        return json_response(openapi())


def _handed_over(proof: Proof) -> HttpResponse:
    facts: Json = {**proof.as_json(), "nonce": proof.nonce}
    return json_response(facts)
