"""What the applications here share: their settings, the proof in a request, the answer to it."""

import json
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from descope_native import (
    AiohttpTransport,
    FinishResult,
    InvalidRequestError,
    NativeOAuthFinisher,
    Transport,
    User,
)

Made = TypeVar("Made")

VARIABLES = {
    "project_id": "DESCOPE_PROJECT_ID",
    "base_url": "DESCOPE_BASE_URI",
    "auth_management_key": "DESCOPE_AUTH_MANAGEMENT_KEY",
    "timeout": "SIGN_IN_TIMEOUT",
    "allow_http": "DESCOPE_ALLOW_HTTP",
}
FLAGS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
READ: dict[str, Callable[[str], Any]] = {"timeout": float, "allow_http": lambda text: FLAGS[text.lower()]}
KEYS = ("provider", "state_id", "code", "id_token", "user")


@asynccontextmanager
async def open_finisher() -> AsyncGenerator[NativeOAuthFinisher]:
    async with AiohttpTransport.open() as transport:
        yield from_environment(NativeOAuthFinisher, transport)


def from_environment(make: Callable[..., Made], transport: Transport) -> Made:
    """Make a finisher or a starter, with the settings that the environment gives.

    An empty variable is not given, as docker compose's ``${DESCOPE_BASE_URI:-}`` leaves it.
    ``DESCOPE_ALLOW_HTTP=1`` is for a stand-in in another container, reached by plain http.

    Raises:
        ValueError: names the variable that is missing or wrong.
    """
    if not os.environ.get("DESCOPE_PROJECT_ID"):
        raise ValueError("DESCOPE_PROJECT_ID is not set")
    try:
        given = (name for name, variable in VARIABLES.items() if os.environ.get(variable))
        return make(transport=transport, **{name: read(name) for name in given})
    except InvalidRequestError as refusal:
        problem = str(refusal)
    for name, variable in VARIABLES.items():
        problem = problem.replace(name, variable)
    raise ValueError(problem)  # outside of the except clause, or the refusal would be its context


def read(name: str) -> Any:
    """One setting, as what it is."""
    text = os.environ[VARIABLES[name]]
    try:
        return READ.get(name, str)(text)
    except (ValueError, KeyError):
        pass
    raise ValueError(f"{VARIABLES[name]} must be {'a number of seconds' if name == 'timeout' else '1 or 0'}")


def read_proof(content_type: str | None, body: bytes) -> dict[str, Any]:
    """The arguments of ``finish()`` that an app sent.

    Only ``application/json`` is read: a form on another site can post the other types, and so sign a
    visitor in as somebody else. A charset is ignored, since JSON has none (RFC 8259 §11). How long a
    body may be is for the server, or the proxy in front of it, to say.

    Raises:
        InvalidRequestError: the body is no JSON object. What is in the object, ``finish()`` checks.
    """
    document: Any = None
    try:
        if (content_type or "").partition(";")[0].strip().lower() == "application/json":
            document = json.loads(body)
        return {key: document.get(key) for key in KEYS}
    except (ValueError, AttributeError, RecursionError):  # no JSON, no object, or nested without end
        pass
    finally:
        del body, document  # collectors of errors record the variables of every frame
    raise InvalidRequestError("the body must be a JSON object, sent as application/json")


def summarize(result: FinishResult) -> dict[str, Any]:
    """What the app is told, beside the tokens in cookies. Every JSON encoder takes it as it stands."""
    user = result.user or User()
    return {
        "first_seen": result.first_seen,
        "email": user.email,
        "roles": user.role_names,
        "attributes": user.custom_attributes,
    }
