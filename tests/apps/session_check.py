import asyncio
import logging
import time
from typing import Any

import aiohttp
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError
from joserfc.jwk import KeySet
from yarl import URL

log = logging.getLogger(__name__)

LIMIT = aiohttp.ClientTimeout(total=5)


class InvalidSession(Exception):
    """It is no session of this project, or no longer: answer 401."""


class KeysUnavailable(Exception):
    """Nobody can tell, since the project's keys cannot be had: answer 503."""


class SessionCheck:
    def __init__(self, client: aiohttp.ClientSession, project_id: str, base_url: str | URL) -> None:
        self._client, self._project_id = client, project_id
        self._url = URL(base_url) / "v2/keys" / project_id
        self._keys, self._fresh_until, self._lock = KeySet([]), 0.0, asyncio.Lock()
        self._is_current = False

    async def __call__(self, token: str) -> dict[str, Any]:
        """The claims of a session token that is ours and still good.

        Raises ``InvalidSession`` or ``KeysUnavailable``, and nothing else.
        """
        try:
            claims = self._read(token)
            if claims is None:  # the first token, or one signed with a key that is new
                await self._fetch_keys()
                claims = self._read(token)
        finally:
            del token  # collectors of errors record the variables of every frame
        if not claims:
            raise InvalidSession
        return claims

    def _read(self, token: str) -> dict[str, Any] | None:
        """The claims, none of them where the token is not valid, or None where its key is not known."""
        # Made for each call, since in old releases it knows one time: when it was made.
        registry = jwt.JWTClaimsRegistry(
            leeway=30, exp={"essential": True}, drn={"essential": True, "value": "DS"}
        )
        try:
            claims = jwt.decode(token, self._keys, algorithms=["RS256"]).claims
            registry.validate(claims)
        except InvalidKeyIdError:
            return None
        except Exception:  # noqa: BLE001 -- a stranger wrote it: TypeError and others come out of joserfc, too
            return {}
        return claims if str(claims.get("iss")).rpartition("/")[2] == self._project_id else {}

    async def _fetch_keys(self) -> None:
        async with self._lock:
            if time.monotonic() > self._fresh_until:  # nobody can make us fetch more than once a minute
                self._fresh_until = time.monotonic() + 5  # and an outage not more than every 5 seconds
                self._is_current = False
                try:
                    async with self._client.get(self._url, raise_for_status=True, timeout=LIMIT) as response:
                        self._keys = KeySet.import_key_set(await response.json())
                except Exception as error:  # noqa: BLE001 -- no answer, or one that is no key set
                    log.warning("the project's keys cannot be had (%s)", type(error).__name__)
                    raise KeysUnavailable from None
                self._fresh_until, self._is_current = time.monotonic() + 60, True
        if not self._is_current:
            raise KeysUnavailable
