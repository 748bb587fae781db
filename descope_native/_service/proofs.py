"""What single flight needs to know of a finish: what its proof is, and how its result is stored."""

import json
from typing import Any, Final

import attrs

from descope_native._service.endpoint import Endpoint
from descope_native.converters import own_converter, structure_answer
from descope_native.models import Drift, FinishRequest, FinishResult

_converter: Final = own_converter()


class FinishProof:
    """What a finish spends. Its result is stored in the wire's own JSON, with its ``drift`` beside it."""

    @staticmethod
    def identify(endpoint: Endpoint, request: FinishRequest, /) -> bytes:
        # Neither the name nor the device tokens: a second submit may come without them.
        kind, proof = ("id_token", request.id_token) if request.code is None else ("code", request.code)
        provider, state = request.provider, request.state_id
        # With the length of each part, because a part may contain the separator.
        where = f"{endpoint.url} {endpoint.project_id}"
        return f"{len(provider)} {len(state)} {where} {provider} {state} {kind} {proof}".encode()

    @staticmethod
    def encode(result: FinishResult, /) -> bytes:
        drift = [(each.path, each.expected, each.found) for each in result.drift]
        return json.dumps([_converter.unstructure(result), drift]).encode()

    @staticmethod
    def decode(text: bytes, /) -> FinishResult:
        answer, drift = json.loads(text)
        result: Any = structure_answer(_converter, FinishResult, answer)
        del text, answer  # this frame may be in a traceback
        if not isinstance(result, FinishResult):
            raise ValueError("no session")  # noqa: TRY004 -- it is about the bytes
        return attrs.evolve(result, drift=tuple(Drift(*each) for each in drift))
