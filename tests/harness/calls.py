"""One call, and how it ended."""

from typing import Any, Final

from descope_native import DescopeNativeError, FinishResult, NativeOAuthFinisher, Transport

CODE: Final = "code-5d41402abc4b2a76b9719d911017c592"
PROJECT: Final = "P2aBcDeFgHiJkLmNoPqRsTuVwXyZ"


async def finish(transport: Transport, url: str, code: str = CODE, **options: Any) -> FinishResult:
    finisher = NativeOAuthFinisher(PROJECT, transport, base_url=url, **options)
    return await finisher.finish(provider="google", state_id=f"state-of-{code}", code=code)


async def failure(transport: Transport, url: str, code: str = CODE, **options: Any) -> DescopeNativeError:
    """The error that the call must end in."""
    try:
        result = await finish(transport, url, code, **options)
    except DescopeNativeError as error:
        return error
    raise AssertionError(f"no error but {result}")
