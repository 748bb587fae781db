"""Start a native sign-in: what the phone needs for its dialog with Apple or Google."""

from collections.abc import Mapping
from typing import Any, ClassVar

from descope_native._call import Client
from descope_native._service.operations import START, Operation
from descope_native.errors import InvalidRequestError
from descope_native.models import LoginOptions, StartRequest, StartResult

__all__ = ["NativeOAuthStarter"]


class NativeOAuthStarter(Client[StartRequest, StartResult]):
    """Begins a native sign-in. A start spends nothing, so it may be repeated where its outcome is unknown.

    It takes what `NativeOAuthFinisher` takes but ``single_flight``, since it has no proof. It raises what
    that raises, and may share its transport.
    """

    _operation: ClassVar[Operation[StartRequest, StartResult]] = START

    async def start(
        self,
        *,
        provider: str,
        login_options: LoginOptions | Mapping[str, Any] | None = None,
        implicit: bool | None = None,
        refresh_jwt: str | None = None,
        known_device_jwt: str | None = None,
        trusted_device_jwt: str | None = None,
        timeout: float | None = None,
    ) -> StartResult:
        """Begin a sign-in.

        An optional argument that is ``""`` was not given.

        Args:
            provider: ``google``, ``apple``, or the name of a custom provider. Case-sensitive.
            login_options: `LoginOptions`, or a mapping in the wire's own names.
            implicit: True: the phone gets an id token. False: Apple gives a code. The service chooses,
                unless given.
            refresh_jwt: the refresh token of the person who is signed in, for step-up or MFA. It goes into
                the bearer; not with an ``auth_management_key``.
            known_device_jwt, trusted_device_jwt: what an earlier result gave for this device.
            timeout: seconds for this call as a whole, instead of the starter's own.

        Raises:
            InvalidRequestError: an argument cannot be right; nothing was sent.
            TransportError: no answer.
            ResponseError: an answer that is no start.
        """
        # Collectors of tracebacks record the locals of every frame: none of ours keeps a secret.
        try:
            request = StartRequest(
                provider=provider,
                login_options=login_options,
                implicit=implicit,
                refresh_jwt=refresh_jwt,
                known_device_jwt=known_device_jwt,
                trusted_device_jwt=trusted_device_jwt,
            )
        except InvalidRequestError as refusal:
            raise self._refused(refusal, provider) from None
        finally:
            del login_options, implicit, refresh_jwt, known_device_jwt, trusted_device_jwt
        if request.refresh_jwt is not None and self._endpoint.key is not None:
            problem = "refresh_jwt cannot be combined with an auth_management_key"  # nobody documents how
            raise self._refused(InvalidRequestError(problem, "refresh_jwt"), provider)
        return await self._call(request, provider, timeout)
