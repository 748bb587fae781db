"""What goes wrong on request."""

import json
import re
from collections.abc import Callable
from typing import Any, Final, Literal

import attrs

from descope_native.testing._json import Json, RefusedError, dump, merge
from descope_native.transports import HttpRequest, HttpResponse, as_pairs

_DROPS: Final = {None, "before", "after", "halfway"}
_PLACES: Final = {None, "body", "cookies"}
_MAX_DELAY: Final = 86_400
_MAX_WAITING: Final = 1000
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2
_VALUE: Final = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]*")  # §5.5
_FRAMING: Final = {"content-length", "transfer-encoding"}


@attrs.frozen(kw_only=True)
class Fault:
    """What goes wrong with one call. Several things may.

    Attributes:
        delay: seconds, at most a day, before the answer, or the drop, after the request took effect.
        drop: the connection ends ``"before"`` the service looks at the request, ``"after"`` it did, or
            ``"halfway"`` through the answer's body.
        status: answer with this, ``headers`` and ``body`` instead.
        headers: of that answer; pairs, or a mapping. The server sets ``Content-Length`` itself.
        body: of that answer.
        applied: whether the request takes effect (a code is spent) although its own answer is not sent:
            with ``drop="after"`` it does, with a ``status`` it does not, unless given.
        tokens: where this answer has them, ``"body"`` or ``"cookies"`` only.
        fields: merged into the JSON of the answer, to add unknown keys or ill-typed values.

    Raises:
        ValueError: two of these make no sense together.
    """

    delay: float = 0.0
    drop: Literal["before", "after", "halfway"] | None = None
    status: int | None = None
    headers: tuple[tuple[str, str], ...] = attrs.field(default=(), converter=as_pairs)
    body: bytes = b""
    applied: bool | None = None
    tokens: Literal["body", "cookies"] | None = None
    fields: Json | None = None

    def __attrs_post_init__(self) -> None:
        if self.drop not in _DROPS or self.tokens not in _PLACES:
            raise ValueError("drop is 'before', 'after' or 'halfway', tokens 'body' or 'cookies'")
        if not 0 <= self.delay <= _MAX_DELAY:
            raise ValueError("delay is from 0 seconds to a day")
        if self.status is not None and not 200 <= self.status <= 599:
            raise ValueError("status is from 200 to 599")
        if not all(_NAME.fullmatch(name) and _VALUE.fullmatch(value) for name, value in self.headers):
            raise ValueError("headers are names and values of one line each, in text that can be encoded")
        if any(name.lower() in _FRAMING for name, _ in self.headers):
            raise ValueError("headers has no Content-Length and no Transfer-Encoding: the server sets them")
        unanswered = self.drop in {"before", "after"}
        if unanswered and self.status is not None:
            raise ValueError("drop leaves no room for a status, unless it is 'halfway'")
        if self.status is None and (self.headers or self.body):
            raise ValueError("headers and body belong to an answer with a status")
        if self.applied is not None and self.status is None and self.drop != "after":
            raise ValueError("applied is a choice only with a status, or with drop='after'")
        if (unanswered or self.status is not None) and (self.tokens or self.fields):
            raise ValueError("tokens and fields are of the service's own answer, which is not sent")

    @property
    def takes_effect(self) -> bool:
        """Whether the service acts on the request."""
        if self.drop == "before":
            return False
        return self.status is None if self.applied is None else self.applied

    def spoil(self, own_answer: HttpResponse | None) -> HttpResponse | None:
        """What is sent, or was to be sent before the drop. There is an own answer if it took effect."""
        if self.drop in {"before", "after"}:
            return None
        if self.status is not None:
            return HttpResponse(self.status, self.headers, self.body)
        if own_answer is not None and self.fields:
            return attrs.evolve(own_answer, body=dump(merge(json.loads(own_answer.body), self.fields)))
        return own_answer


NO_FAULT: Final = Fault()


class DroppedError(ConnectionResetError):
    """The connection ends here, halfway through this answer if there is one."""

    def __init__(self, answer: HttpResponse | None) -> None:
        super().__init__("the stand-in dropped the connection")
        self.answer = answer


class Faults:
    """Those that are to come."""

    def __init__(self) -> None:
        self._next: list[Fault] = []
        self._rules: list[tuple[Callable[[HttpRequest], bool], Fault]] = []

    def fail_next(self, *faults: Fault) -> None:
        """One for each of the next finish calls."""
        if len(self._next) + len(faults) > _MAX_WAITING:
            raise RefusedError(409, "E011004", f"{_MAX_WAITING} faults are waiting at most")
        self._next += faults

    def fail_when(self, predicate: Callable[[HttpRequest], bool], fault: Fault) -> None:
        """One for every call of which the predicate is true."""
        self._rules.append((predicate, fault))

    def clear(self) -> None:
        """Forget all of them."""
        self._next.clear()
        self._rules.clear()

    def take(self, request: HttpRequest, *, is_finish: bool) -> Fault:
        """What goes wrong with this call."""
        if self._next and is_finish:
            return self._next.pop(0)
        return next((fault for predicate, fault in self._rules if predicate(request)), NO_FAULT)


# --- as another process asks for one

_KINDS: Final[dict[str, tuple[type, ...]]] = {
    "delay": (int, float),
    "drop": (str,),
    "status": (int,),
    "headers": (dict,),
    "body": (str,),
    "applied": (bool,),
    "tokens": (str,),
    "fields": (dict,),
}


def read_fault(described: Json) -> Fault:
    """A fault in the words of ``Fault``, ``body`` being text."""
    if described.keys() - _KINDS.keys():
        raise RefusedError(400, "E011004", f"a fault has {', '.join(_KINDS)}, and nothing else")
    for key, value in described.items():
        if type(value) not in _KINDS[key]:  # not isinstance, to which true is a number
            raise RefusedError(400, "E011004", f"{key} has the wrong type")
    if not all(isinstance(value, str) for value in described.get("headers", {}).values()):
        raise RefusedError(400, "E011004", "headers has the wrong type")
    try:
        body: Any = described.get("body", "").encode()
    except UnicodeEncodeError:
        raise RefusedError(400, "E011004", "body is text that cannot be encoded") from None
    try:
        return Fault(**{**described, "body": body})
    except ValueError as error:
        raise RefusedError(400, "E011004", str(error)) from None
