"""What the stand-in says of itself."""

from typing import Any


def openapi() -> dict[str, Any]:
    """An OpenAPI 3 description of everything the stand-in serves."""
    return {}
