"""What must not come back out: a service may quote the secrets that it was sent. Nothing here waits."""

import functools
import html
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, cast
from urllib.parse import unquote, unquote_plus

import attrs

from descope_native._service.json_text import decode_json

WITHHELD: Final = "withheld: it quotes the request"

_MAX_SHOWN: Final = 300
_MAX_READINGS: Final = 10
_MAX_VALUES: Final = 200
_MAX_SECRETS: Final = 12 * 1024  # characters, a few times what a phone sends
_STEP: Final = 4
_SAMPLE: Final = 12 - _STEP + 1  # twelve characters in a row have a whole sample in them

# In lower case. Complete, or cut short: its parts begin with what base64 makes of '{"'.
_TOKEN: Final = re.compile(r"eyj[\w-]{8}|[\w-]{8}\.[\w-]{8,}\.", re.ASCII)
_WORD: Final = re.compile(r"\w+")
_BACKSLASH: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_CONTROLS: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class Redactor:
    """Withholds a text that has a token, the key, or what a request hides from its ``repr`` in it.

    A secret is told in any spelling, whole or by twelve characters in a row. Where there is more to
    compare than a phone sends or a service escapes, the text is withheld as well.
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
        whole, samples = self._secrets
        is_known = any(len(secret) >= 6 and secret in name for secret in whole)
        return is_known or (len(name) >= 12 if samples is None else _has_sample(name, samples))

    def _is_quoted_in(self, text: str) -> bool:
        whole, samples = self._secrets
        readings = _readings(text)
        if samples is None or len(readings) > _MAX_READINGS:
            return True
        text = "\0".join(readings)
        words = f"{text}\0{_words(text)}"
        return bool(_TOKEN.search(text)) or any(part in words for part in whole) or _has_sample(text, samples)

    @functools.cached_property
    def _secrets(self) -> tuple[list[str], set[str] | None]:
        """What is looked for whole, and samples of it; None where that is too much."""
        fields = attrs.fields(type(self._request))
        hidden = [getattr(self._request, field.name) for field in fields if field.repr is not True]
        strings = _strings_in([self._key, *hidden])
        is_small = len(strings) <= _MAX_VALUES and sum(map(len, strings)) <= _MAX_SECRETS
        # An error code is short, so that it can still be compared with what is as short.
        secrets = [_fold(text.strip()) for text in strings if is_small or len(text) <= _SAMPLE]
        # Two or three letters stand in many words, where words have spaces between them.
        whole = [text if len(text) > 3 or not text.isascii() else _words(text) for text in secrets]
        joined = "\0".join(secrets)
        samples = {joined[at : at + _SAMPLE] for at in range(0, len(joined) - _SAMPLE + 1, _STEP)}
        return list(filter(str.strip, whole)), samples if is_small else None


def _strings_in(values: list[object]) -> list[str]:
    """Each string and number in them, and in what is JSON text, until there are too many."""
    strings: list[str] = []
    for value in values:
        is_text = isinstance(value, str | int) and not isinstance(value, bool)
        strings.append(str(value) if is_text else "")
        if isinstance(value, Mapping):
            values += cast("Mapping[str, object]", value).values()
        elif isinstance(value, list | tuple):
            values += cast("list[object]", value)
        elif attrs.has(type(value)):
            values += attrs.astuple(cast("Any", value), recurse=False)
        elif strings[-1].lstrip()[:1] in {"{", "["} and sum(map(len, strings)) <= _MAX_SECRETS:
            with suppress(ValueError, RecursionError):
                values.append(decode_json(strings[-1].encode()))
        if len(strings) > _MAX_VALUES:
            break
    return strings


def _readings(text: str) -> list[str]:
    """The text, and what is left of it as layer after layer of escapes is undone, whatever their kinds."""
    readings = [text]
    for reading in readings:
        for undo in (html.unescape, unquote, unquote_plus, _undo_backslashes):
            if (plain := undo(reading)) not in readings:
                readings.append(plain)
        if len(readings) > _MAX_READINGS:
            break
    return list(map(_fold, readings))


def _undo_backslashes(text: str) -> str:
    return _BACKSLASH.sub(lambda m: chr(int(m[1], 16)) if m[1] else _CONTROLS.get(m[2], m[2]), text)


def _fold(text: str) -> str:
    """The same for upper and lower case, for a surrogate pair and its halves."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").casefold()


def _words(text: str) -> str:
    """Each word with a space on both sides."""
    return f" {' '.join(_WORD.findall(text))} "


def _has_sample(text: str, samples: set[str]) -> bool:
    return not samples.isdisjoint([text[at : at + _SAMPLE] for at in range(len(text) - _SAMPLE + 1)])
