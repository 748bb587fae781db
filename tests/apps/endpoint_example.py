import pytest
from fastapi.testclient import TestClient
from fastapi_start_app import app, get_finisher, get_starter

from descope_native import InMemoryTransport, NativeOAuthFinisher, NativeOAuthStarter
from descope_native.testing import FakeDescope


def test_a_person_signs_in(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeDescope()
    transport = InMemoryTransport(fake)
    starter = NativeOAuthStarter(fake.project_id, transport)
    finisher = NativeOAuthFinisher(fake.project_id, transport)
    overrides = {get_starter: lambda: starter, get_finisher: lambda: finisher}
    monkeypatch.setattr(app, "dependency_overrides", overrides)
    monkeypatch.setenv("DESCOPE_PROJECT_ID", fake.project_id)
    monkeypatch.setenv("SIGN_IN_SECRET", "s" * 32)
    # `with` runs the lifespan, and all requests on one event loop. Only over https is the cookie sent back.
    with TestClient(app, base_url="https://testserver") as client:
        started = client.post("/sign-in/start", json={"provider": "google"}).json()
        proof = fake.phone(started, email="ada@example.com")
        answer = client.post("/sign-in/finish", json={"id_token": proof.id_token})
    assert answer.json()["email"] == "ada@example.com"
    assert {"DS", "DSR"} <= set(answer.cookies)
