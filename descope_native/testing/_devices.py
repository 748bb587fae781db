"""The tokens that mark a device: known, and trusted."""

from typing import Final

import attrs

from descope_native.testing._json import Json, RefusedError
from descope_native.testing._settings import Settings, remember
from descope_native.transports import HttpRequest

# What the two are called: in an answer's body, as a cookie and in the ``drn`` claim, in a request's headers.
KINDS: Final = {
    "knownDeviceJwt": ("DKD", "x-descope-known-device-token"),
    "trustedDeviceJwt": ("DTD", "x-descope-trusted-device-token"),
}


@attrs.frozen
class _Device:
    kind: str
    id: str
    expires: int


class Devices:
    """Those that have signed in."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._tokens: dict[str, _Device] = {}

    def recognize(self, request: HttpRequest) -> Json:
        """The ids of the device that a request's tokens name, by the key of the token."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        found: Json = {}
        for key, (kind, header) in KINDS.items():
            if header not in headers:
                continue
            device = self._tokens.get(headers[header])
            if device is None or device.kind != kind:
                raise RefusedError(401, "E111119", f"{header} is no such token of this service")
            if device.expires <= self._settings.now():
                raise RefusedError(401, "E062504", f"{header} has expired")
            found[key] = device.id
        return found

    def mark(self, recognized: Json) -> Json:
        """Both tokens: of the device as it was recognized, or of a new one."""
        return {key: self._mark(kind, recognized.get(key)) for key, (kind, _) in KINDS.items()}

    def _mark(self, kind: str, device_id: str | None) -> str:
        now = self._settings.now()
        device = _Device(kind, device_id or self._settings.secret(22), now + self._settings.refresh_lifetime)
        claims = {
            "drn": kind,
            "exp": device.expires,
            "iat": now,
            "iss": self._settings.project_id,
            "sub": device.id,
        }
        token = self._settings.signer.encode(claims)
        remember(self._tokens, token, device)
        return token
