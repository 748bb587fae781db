"""What must not come back out: a service may quote the secrets that it was sent. Nothing here waits."""

import functools
import html
import json
import re
from collections.abc import Iterable, Iterator
from typing import Final, cast
from urllib.parse import quote, unquote, unquote_plus

import attrs

from descope_native.models import AppleUser

LONGEST_SHOWN: Final = 300
"""Characters of a text of the service's that an error keeps."""

_BLACKED_OUT: Final = "[redacted]"

# Complete, or cut short: its parts begin with what base64 makes of '{"'.
_JWT: Final = re.compile(r"[\w-]{8,}\.[\w-]{8,}\.[\w-]*|eyJ[\w-]{8,}[\w.-]*", re.ASCII)
_WORD: Final = re.compile(r"[\w.~%/+=-]{12,}")
_PLAIN: Final = re.compile(r"[\w.~-]*", re.ASCII)
_WINDOW: Final = 12


class Censor:
    """A service may quote what it was sent, in full, cut short or escaped; and any JWT is a secret.

    Nothing is worked out before there is a text to look at, and the work stays small for whatever a
    phone may send: it is done on the event loop.
    """

    # No pattern is made of a secret: `re` would remember it for as long as the process lives.

    def __init__(self, request: attrs.AttrsInstance, key: str | None) -> None:
        self._request = request
        self._key = key

    @functools.cached_property
    def _secrets(self) -> list[str]:
        """What the request had to keep secret."""
        values = [
            self._key,
            *(getattr(self._request, each.name) for each in attrs.fields(type(self._request))),
        ]
        secrets: set[object] = set()
        for value in values:
            if isinstance(value, AppleUser):
                secrets.update(attrs.astuple(value))
            elif isinstance(value, str) and value.startswith("{"):
                secrets.update(_strings_in(json.loads(value)), (value,))
            else:
                secrets.update(_strings_in(value))
        secrets -= {getattr(self._request, "provider", None)}
        secrets.add(self._key)
        return [text for text in secrets if isinstance(text, str) and text and not text.isspace()]

    @functools.cached_property
    def _spellings(self) -> set[str]:
        # What is longer than a text cannot stand in it. Its parts can: see _secret_parts.
        short = [secret for secret in self._secrets if len(secret) <= 2 * LONGEST_SHOWN]
        odd = [secret for secret in short if not _PLAIN.fullmatch(secret)]
        spellings = {*short}
        # All at once, since there may be hundreds, and each character is escaped by itself.
        for escaped, separator in zip(_escaped("\0".join(odd)), _escaped("\0"), strict=True):
            spellings.update(escaped.split(separator))
        return spellings - {""}

    def _secret_parts(self, texts: Iterable[str]) -> set[str]:
        """Every twelve characters in a row that a secret has too."""
        parts = {part for text in texts for part in _windows(text)}
        return parts.intersection(_windows("\0".join(self._secrets))) if parts else parts

    def is_secret(self, name: str) -> bool:
        """Whether an error code or a trace id is one, or has one. Fewer than six characters are chance."""
        known = any(secret in name for secret in self._secrets if len(secret) >= 6)
        return known or bool(self._secret_parts([name]))

    def black_out(self, text: str, until: int | None = None) -> str:
        """The text without secrets; what comes from ``until`` on is looked at, but not shown."""
        spans = [
            span for spelling in self._spellings if spelling in text for span in _occurrences(text, spelling)
        ]
        spans += [jwt.span() for jwt in _JWT.finditer(text)]
        words = [(word.span(), _unescaped(word[0])) for word in _WORD.finditer(text)]
        parts = self._secret_parts([text, *(form for _, forms in words for form in forms)])
        spans += [(at, at + _WINDOW) for at, part in enumerate(_windows(text)) if part in parts]
        spans += [
            span for span, forms in words if any(not parts.isdisjoint(_windows(form)) for form in forms)
        ]
        shown: list[str] = []
        end = 0
        for start, stop in sorted(spans):
            if until is not None and start >= until:
                break
            if start >= end:
                shown += [text[end:start], _BLACKED_OUT]
            end = max(end, stop)
        return "".join(shown) + text[end:until]


def _strings_in(value: object) -> Iterator[str]:
    values = [value]
    while values:
        item = values.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            values += cast("dict[str, object]", item).values()
        elif isinstance(item, list):
            values += cast("list[object]", item)


def _escaped(text: str) -> list[str]:
    """How somebody may write it down; twice escaped where it was JSON or a URL within another."""
    once = _in_text(text)
    forms = [form for each in once for form in _in_text(each)]
    for each in once:
        octets = each.encode(errors="replace")
        for table in (_QUOTED, _QUOTED_LOW):
            quoted = "".join(map(table.__getitem__, octets))
            for form in (quoted, quoted.replace(table[0x2F], "/"), quoted.replace("%20", "+")):
                twice = form.replace("%", "%25")
                forms += [form, twice, twice.replace("/", "%2F").replace("+", "%2B")]
    return forms


def _in_text(text: str) -> list[str]:
    return [text, html.escape(text), json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]]


_QUOTED: Final = [quote(bytes([octet]), safe="") for octet in range(256)]
_QUOTED_LOW: Final = [each.lower() if each[0] == "%" else each for each in _QUOTED]


def _unescaped(word: str) -> set[str]:
    """What it may have been before it was put into a URL, or a URL within another."""
    once = {word, unquote(word), unquote_plus(word)}
    return once.union(map(unquote, once), map(unquote_plus, once))


def _windows(text: str) -> Iterator[str]:
    return (text[start : start + _WINDOW] for start in range(len(text) - _WINDOW + 1))


def _occurrences(text: str, part: str) -> Iterator[tuple[int, int]]:
    start = text.find(part)
    while start >= 0:
        stop = start + len(part)
        if len(part) >= 4 or not (text[:start][-1:].isalnum() or text[stop : stop + 1].isalnum()):
            yield start, stop
        start = text.find(part, stop)
