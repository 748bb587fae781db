"""The example in the guide: we sign in, and the official Python SDK does the rest with our tokens."""

import asyncio
import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from descope_native import NativeOAuthFinisher
from descope_native.testing import FakeDescope

descope: Any = pytest.importorskip("descope", reason="the descope package is not installed")
jwt: Any = pytest.importorskip("jwt")
sys.path.append(str(Path(__file__).parent))
example: Any = importlib.import_module("side_by_side")


async def test_the_official_sdk_takes_our_tokens() -> None:
    """It checks the session, refreshes it, takes the new one, and logs out; then nothing is refreshed."""
    fake = FakeDescope()
    async with (
        fake.serve() as base_url,
        NativeOAuthFinisher.open(fake.project_id, base_url=base_url) as finisher,
    ):
        client = await asyncio.to_thread(descope.DescopeClient, fake.project_id, base_url=base_url)
        result = await example.sign_in(finisher, **fake.sign_in("google").as_arguments())
        assert result.user
        assert result.refresh_jwt
        assert (await example.check_session(client, result.session_jwt))["userId"] == result.user.user_id

        session_jwt = await example.refresh(client, result.refresh_jwt)
        assert (await example.check_session(client, session_jwt))["userId"] == result.user.user_id

        await example.log_out(client, result.refresh_jwt)
        with pytest.raises(descope.AuthException):
            await example.refresh(client, result.refresh_jwt)


async def test_what_is_no_session_is_refused() -> None:
    """A refresh token, which the SDK alone would take, a token that somebody changed, and none at all."""
    fake = FakeDescope()
    async with (
        fake.serve() as base_url,
        NativeOAuthFinisher.open(fake.project_id, base_url=base_url) as finisher,
    ):
        client = await asyncio.to_thread(descope.DescopeClient, fake.project_id, base_url=base_url)
        result = await example.sign_in(finisher, **fake.sign_in("google").as_arguments())
        assert result.refresh_jwt
        changed = f"{result.session_jwt[:-8]}AAAAAAAA"
        for token, error in {
            result.refresh_jwt: descope.AuthException,
            changed: jwt.PyJWTError,
            "a.b.c": descope.AuthException,
            "": descope.AuthException,
        }.items():
            with pytest.raises(error):
                await example.check_session(client, token)
