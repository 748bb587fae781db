import asyncio
import time
from typing import Any

import aiohttp
from joserfc import jwt
from joserfc.errors import InvalidClaimError, InvalidKeyIdError
from joserfc.jwk import KeySet

LIMIT = aiohttp.ClientTimeout(total=5)


class SessionCheck:
    def __init__(self, client: aiohttp.ClientSession, project_id: str, base_url: str) -> None:
        self._client, self._project_id, self._url = client, project_id, f"{base_url}/v2/keys/{project_id}"
        self._keys, self._fresh_until, self._lock = KeySet([]), 0.0, asyncio.Lock()

    async def __call__(self, token: str) -> dict[str, Any]:
        """The claims of a session token that is ours and still good; else raises ``JoseError``.

        Raises ``aiohttp.ClientError`` or ``TimeoutError`` where the keys cannot be had.
        """
        try:
            claims = jwt.decode(token, self._keys, algorithms=["RS256"]).claims
        except InvalidKeyIdError:  # the first token, or one signed with a key that is new
            async with self._lock:
                if time.monotonic() > self._fresh_until:  # nobody can make us fetch more than once a minute
                    self._fresh_until = time.monotonic() + 5  # and an outage not more than every 5 seconds
                    async with self._client.get(self._url, raise_for_status=True, timeout=LIMIT) as response:
                        self._keys = KeySet.import_key_set(await response.json())
                    self._fresh_until = time.monotonic() + 60
            claims = jwt.decode(token, self._keys, algorithms=["RS256"]).claims
        # Made for each call, since in old releases it knows one time: when it was made.
        jwt.JWTClaimsRegistry(
            leeway=30, exp={"essential": True}, drn={"essential": True, "value": "DS"}
        ).validate(claims)
        if str(claims.get("iss")).rpartition("/")[2] != self._project_id:
            raise InvalidClaimError("iss")
        return claims
