"""Who asks: the project, with its key if it has one, and perhaps a signed-in person."""

from descope_native.testing._json import RefusedError
from descope_native.testing._settings import Settings
from descope_native.transports import HttpRequest


def check_project(request: HttpRequest, settings: Settings) -> None:
    """Let in requests of the project, with nothing more in their bearer."""
    if refresh_token(request, settings) is not None:
        raise _refusal()


def refresh_token(request: HttpRequest, settings: Settings) -> str | None:
    """The refresh token in a bearer of the project; the official SDKs put it before the key."""
    given = [value for name, value in request.headers.items() if name.lower() == "authorization"]
    key = f":{settings.auth_management_key}" if settings.auth_management_key else ""
    project, *rest = given[0].removesuffix(key).split(":", 1) if len(given) == 1 else [""]
    if project != f"Bearer {settings.project_id}" or not given[0].endswith(key):
        raise _refusal()
    return rest[0] if rest else None


def _refusal() -> RefusedError:
    return RefusedError(401, "E111119", "the project id or key is wrong")
