"""A result as JSON: a part of it in an answer, all of it in a store, and a snapshot of it in a test."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import orjson
import pydantic
import pydantic_core
import pytest
from test_apps import APPS, ATTRIBUTES, InProcess, as_body, every_framework, swapped

from descope_native import FinishResult, InMemoryTransport, NativeOAuthFinisher
from descope_native.converters import make_converter
from descope_native.testing import FakeDescope, Fault

GUIDE = (APPS.parents[1] / "docs" / "json.md").read_text(encoding="utf-8")


async def finish(fake: FakeDescope, **person: Any) -> FinishResult:
    finisher = NativeOAuthFinisher(fake.project_id, InMemoryTransport(fake))
    return await finisher.finish(**fake.sign_in("google", user=person).as_arguments())


# --- a part, in an answer


def with_msgspec(value: Any) -> bytes:
    return bytes(pytest.importorskip("msgspec").json.encode(value))


def with_ujson(value: Any) -> str:
    return str(pytest.importorskip("ujson").dumps(value))


def with_fastapi(value: Any) -> str:
    return json.dumps(pytest.importorskip("fastapi.encoders").jsonable_encoder(value))


def with_flask(value: Any) -> str:
    app = pytest.importorskip("flask").Flask("encoder")
    return str(app.json.dumps(value))


def with_django(value: Any) -> str:
    return json.dumps(value, cls=pytest.importorskip("django.core.serializers.json").DjangoJSONEncoder)


ENCODERS: dict[str, Callable[[Any], str | bytes]] = {
    "json": json.dumps,
    "json without NaN": lambda value: json.dumps(value, allow_nan=False, ensure_ascii=False),
    "orjson": orjson.dumps,
    "pydantic": pydantic.TypeAdapter(dict[str, Any]).dump_json,
    "pydantic_core": pydantic_core.to_json,
    "msgspec": with_msgspec,
    "ujson": with_ujson,
    "FastAPI": with_fastapi,
    "Flask": with_flask,
    "Django": with_django,
}


@pytest.mark.apps
@pytest.mark.parametrize("encode", ENCODERS.values(), ids=ENCODERS)
async def test_an_encoder_takes_parts_of_a_result(encode: Callable[[Any], str | bytes]) -> None:
    """Free-form attributes, claims, flags, lists and unknown keys, with no conversion in between."""
    fake = FakeDescope()
    fake.fail_next(Fault(fields={"claims": ATTRIBUTES, "brandNew": ATTRIBUTES}))
    tenants = [{"tenantId": "T1", "tenantName": "One", "roleNames": ["admin"]}]
    result = await finish(fake, customAttributes=ATTRIBUTES, roleNames=["editor"], userTenants=tenants)
    assert result.user
    parts = {
        "attributes": result.user.custom_attributes,
        "claims": result.claims,
        "oauth": result.user.oauth,
        "roles": result.user.role_names,
        "tenants": [attrs.asdict(tenant) for tenant in result.user.user_tenants],
        "new": result.extra,
    }
    read = json.loads(encode(parts))
    assert (read["attributes"], read["claims"], read["new"]) == (
        ATTRIBUTES,
        ATTRIBUTES,
        {"brandNew": ATTRIBUTES},
    )
    assert (read["oauth"], read["roles"]) == ({"google": True}, ["editor"])
    assert read["tenants"][0]["role_names"] == ["admin"]


def test_a_pydantic_model_takes_parts_of_a_result() -> None:
    """Also where it is strict, as the models of an API often are."""

    class Answer(pydantic.BaseModel, strict=True):
        roles: tuple[str, ...]
        attributes: dict[str, Any]

    result = asyncio.run(finish(FakeDescope(), customAttributes=ATTRIBUTES, roleNames=["editor"]))
    assert result.user
    answer = Answer(roles=result.user.role_names, attributes=result.user.custom_attributes)
    assert json.loads(answer.model_dump_json()) == {"roles": ["editor"], "attributes": ATTRIBUTES}


@pytest.mark.apps
@every_framework
async def test_an_application_tells_the_app_of_the_person(app: InProcess) -> None:
    """A part of the result beside the cookies, and no token in it."""
    fake = FakeDescope()
    person = {"customAttributes": ATTRIBUTES, "roleNames": ["editor"]}
    async with swapped(app, fake) as post:
        answer = await post(as_body(fake.sign_in("google", user=person)))
    assert json.loads(answer.body) == {
        "first_seen": True,
        "email": "ada@example.com",
        "roles": ["editor"],
        "attributes": ATTRIBUTES,
    }


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


ODD_PEOPLE: dict[str, Any] = {
    "nobody": None,
    "NaN": {"customAttributes": {"a": float("nan")}},
    "an integer beyond 64 bits": {"customAttributes": {"a": 2**70, "b": -(2**70), "c": 2**64}},
    "an integer of 400 digits": {"customAttributes": {"a": 10**400}},
    "half a surrogate pair": {"email": "\ud800", "customAttributes": {"\udc00": "\ud800"}},
    "roles that are none": {"roleNames": [None, 1, {"a": 1}]},
    **{
        f"{depth} levels": {"customAttributes": {"a": nested(depth)}}
        for depth in (50, 90, 120, 200, 300, 900)
    },
}


@pytest.mark.apps
@every_framework
async def test_no_odd_answer_of_the_service_costs_a_session(app: InProcess) -> None:
    """Once the code is spent, an encoder that stumbles over an attribute would lose the tokens."""
    async with swapped(app, fake := FakeDescope()) as post:
        for label, person in ODD_PEOPLE.items():
            body = json.dumps({"sessionJwt": "s.e.s", "user": person}).encode()
            fake.fail_next(Fault(status=200, body=body))
            answer = await post(as_body(fake.sign_in("google")))
            print(label, answer.status, answer.body[:80])
            assert (answer.status, answer.tokens()) == (200, {"DS": "s.e.s"}), label
            assert set(json.loads(answer.body)) == {"first_seen", "email", "roles", "attributes"}


# --- all of it, in a store


def test_a_result_is_stored_and_read_back() -> None:
    """As JSON in the service's own words, by json or orjson. It is the same again, and holds the tokens."""
    result = asyncio.run(finish(FakeDescope(), customAttributes=ATTRIBUTES))
    converter = make_converter()
    stored = converter.unstructure(result)
    for text in (json.dumps(stored), orjson.dumps(stored)):
        assert converter.structure(json.loads(text), FinishResult) == result
    assert json.loads(json.dumps(stored))["sessionJwt"] == result.session_jwt


def test_a_result_is_a_dict_in_pythons_own_words() -> None:
    """attrs.asdict is one way: what it gives is JSON, and has the tokens under their names."""
    result = asyncio.run(finish(FakeDescope(), customAttributes=ATTRIBUTES))
    read = json.loads(json.dumps(attrs.asdict(result)))
    assert read["user"]["custom_attributes"] == ATTRIBUTES
    assert read["session_jwt"] == result.session_jwt
    assert json.loads(orjson.dumps(attrs.asdict(result))) == read


# --- a snapshot, in a test


def test_a_snapshot_is_the_same_in_each_process(tmp_path: Path) -> None:
    """The guide's test: with a seed and a clock, ids, times and the signed tokens are as they were."""
    (source,) = re.findall(r"<!-- pytest: test_snapshot.py -->\n```python\n(.*?)```", GUIDE, re.DOTALL)
    test = tmp_path / "test_snapshot.py"
    test.write_text(source, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", str(test)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    for _ in range(2):
        subprocess.run(command, check=True, cwd=tmp_path, env=environment)
    kept = json.loads((tmp_path / "snapshot.json").read_text(encoding="utf-8"))
    assert kept["user"]["createdTime"] == 1_800_000_000
    assert kept["sessionJwt"].count(".") == 2
