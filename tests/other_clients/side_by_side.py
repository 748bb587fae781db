"""Sign in with this library, and do the rest with the official SDK, which is synchronous."""

import asyncio
from typing import Any

from descope import AuthException, DescopeClient

from descope_native import FinishResult, NativeOAuthFinisher


async def sign_in(finisher: NativeOAuthFinisher, **proof: Any) -> FinishResult:
    return await finisher.finish(**proof)


async def check_session(client: DescopeClient, session_jwt: str) -> dict[str, Any]:
    """Raises ``AuthException``, or ``jwt.PyJWTError`` where the signature is wrong."""
    claims: dict[str, Any] = await asyncio.to_thread(client.validate_session, session_jwt)
    if claims.get("drn") != "DS":  # the SDK takes a refresh token as well, which lives much longer
        raise AuthException(401, "invalid token", "this is no session token")
    return claims


async def refresh(client: DescopeClient, refresh_jwt: str) -> str:
    claims = await asyncio.to_thread(client.refresh_session, refresh_jwt)
    return str(claims["sessionToken"]["jwt"])


async def log_out(client: DescopeClient, refresh_jwt: str) -> None:
    await asyncio.to_thread(client.logout, refresh_jwt)
