"""What must not come back out: a service may quote the secrets that it was sent. Nothing here waits."""

import functools
import html
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from typing import Final, cast
from urllib.parse import unquote

import attrs

from descope_native._service.json_text import decode_json

WITHHELD: Final = "withheld: it quotes the request"

_MAX_SHOWN: Final = 300
_MAX_READINGS: Final = 10
_MAX_VALUES: Final = 200
_MAX_SECRETS: Final = 8 * 1024  # characters, a few times what a phone sends
_PART: Final = 12

# In lower case. Complete, or cut short: its parts begin with what base64 makes of '{"'.
_TOKEN: Final = re.compile(r"eyj[\w-]{8}|[\w-]{8}\.[\w-]{8,}\.", re.ASCII)
_WORD: Final = re.compile(r"\w+")
_BACKSLASH: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_CONTROLS: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class Redactor:
    """Withholds a text that has a token, the key, or what a request hides from its ``repr`` in it.

    A secret is told in any spelling, whole or by twelve characters in a row. Where there is more to
    compare than a phone sends, the text is withheld as well.
    """

    # No pattern is made of a secret: `re` would remember it for as long as the process lives.

    def __init__(self, request: attrs.AttrsInstance, key: str | None) -> None:
        self._request = request
        self._key = key

    def show(self, text: str) -> str:
        """The first 300 characters, those that cannot be printed as spaces; or that it is withheld."""
        shown = "".join(char if char.isprintable() else " " for char in text[:_MAX_SHOWN]).strip()
        # Twice as many are read, or a secret that the cut goes through could not be told for one.
        return WITHHELD if shown and self._is_quoted_in(text[: 2 * _MAX_SHOWN]) else shown

    def is_secret(self, name: str) -> bool:
        """Whether an error code or a trace id has one in it. Fewer than six characters are chance."""
        name = _fold(name)
        secrets, whole = self._secrets
        return _has_part(name, whole) or any(len(secret) >= 6 and secret in name for secret in secrets)

    def _is_quoted_in(self, text: str) -> bool:
        readings = _readings(text)
        text = "\0".join(map(_fold, readings))
        words = f"{text}\0{_words(text)}"
        secrets, whole = self._secrets
        is_unread = whole is None or len(readings) > _MAX_READINGS
        is_known = any(secret in words for secret in secrets) or bool(_TOKEN.search(text))
        return is_unread or is_known or _has_part(text, whole)

    @functools.cached_property
    def _secrets(self) -> tuple[list[str], str | None]:
        """What is looked for, and all of it in one text; None where that would be too much."""
        fields = attrs.fields(type(self._request))
        hidden = [getattr(self._request, field.name) for field in fields if field.repr is not True]
        strings = list(islice(_strings_in([self._key, *hidden]), _MAX_VALUES + 1))
        is_small = len(strings) <= _MAX_VALUES and sum(map(len, strings)) <= _MAX_SECRETS
        folded = {_fold(text).strip() for text in strings if is_small or len(text) < _PART} - {""}
        # Two or three letters stand in many words.
        secrets = [text if len(text) > 3 or not text.isascii() else _words(text) for text in folded]
        return secrets, "\1".join(secrets) if is_small else None


def _strings_in(value: object) -> Iterator[str]:
    """Each string and number in it, and in what is JSON text, and nothing for each other value."""
    yield str(value) if type(value) in {str, int} else ""
    if isinstance(value, str) and value.lstrip()[:1] in {"{", "["} and len(value) <= _MAX_SECRETS:
        with suppress(ValueError, RecursionError):
            value = decode_json(value.encode())
    if attrs.has(type(value)):
        value = attrs.asdict(cast("attrs.AttrsInstance", value), recurse=False)
    if isinstance(value, Mapping):
        value = list(cast("Mapping[str, object]", value).values())
    for each in cast("list[object]", value) if isinstance(value, list | tuple) else ():
        yield from _strings_in(each)


def _readings(text: str) -> list[str]:
    """The text, and what is left of it as layer after layer of escapes is undone."""
    readings = [text]
    for reading in readings:
        for undo in (html.unescape, unquote, _undo_backslashes):
            if (plain := undo(reading)) not in readings:
                readings.append(plain)
        if len(readings) > _MAX_READINGS:
            break
    return readings


def _undo_backslashes(text: str) -> str:
    return _BACKSLASH.sub(lambda m: chr(int(m[1], 16)) if m[1] else _CONTROLS.get(m[2], m[2]), text)


def _fold(text: str) -> str:
    """The same for upper and lower case, for a surrogate pair and its halves, for a space and a plus."""
    if not text.isascii():
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text.replace("+", " ").casefold()


def _words(text: str) -> str:
    """Each word with a space on both sides."""
    return f" {' '.join(_WORD.findall(text))} "


def _has_part(text: str, whole: str | None) -> bool:
    parts = {text[at : at + _PART] for at in range(len(text) - _PART + 1)}
    return bool(parts) if whole is None else any(part in whole for part in parts)
