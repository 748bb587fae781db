import pytest
from fastapi.testclient import TestClient
from fastapi_start_app import Begun, app, get_begun, get_finisher

from descope_native import InMemoryTransport, NativeOAuthFinisher
from descope_native.testing import FakeDescope


def test_a_proof_gives_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeDescope()
    proof = fake.sign_in("google", email="ada@example.com")
    begun = Begun(provider="google", state_id=proof.state_id, nonce=None)
    finisher = NativeOAuthFinisher(fake.project_id, InMemoryTransport(fake))
    overrides = {get_finisher: lambda: finisher, get_begun: lambda: begun}
    monkeypatch.setattr(app, "dependency_overrides", overrides)
    answer = TestClient(app).post("/sign-in/finish", json={"id_token": proof.id_token})
    assert answer.json()["email"] == "ada@example.com"
    assert set(answer.cookies) == {"DS", "DSR"}
