"""Providers that may be named where strangers read. A custom one's name may be a customer's."""

from typing import Final

WELL_KNOWN: Final = frozenset(
    {"apple", "discord", "facebook", "github", "gitlab", "google", "linkedin", "microsoft", "slack"}
)
