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
        secrets, is_small = self._secrets
        if any(len(secret) >= 6 and secret in name for secret in secrets):
            return True
        if not is_small:
            return len(name) >= 12
        # Each good answer has a trace id, for which samples of all secrets would cost too much.
        text = "\0".join(secrets)
        return any(part in text for part in _parts(name, _STEP))

    def _is_quoted_in(self, text: str) -> bool:
        secrets, is_small = self._secrets
        readings = _readings(text)
        if not is_small or len(readings) > _MAX_READINGS:
            return True
        text = "\0".join(readings)
        words = f"{text}\0{_words(text)}"
        # Two or three letters stand in many words, where words have spaces between them.
        whole = [secret if len(secret) > 3 or not secret.isascii() else _words(secret) for secret in secrets]
        is_known = any(part in words for part in whole if not part.isspace())
        return bool(_TOKEN.search(text)) or is_known or not self._samples.isdisjoint(_parts(text))

    @functools.cached_property
    def _secrets(self) -> tuple[list[str], bool]:
        """What is looked for, and whether that is all; an error code is compared with what is as short."""
        hidden = [getattr(self._request, name) for name in _hidden_fields(type(self._request))]
        strings = _strings_in([value for value in (self._key, *hidden) if value is not None])
        is_small = len(strings) <= _MAX_VALUES and sum(map(len, strings)) <= _MAX_SECRETS
        secrets = [_fold(text.strip()) for text in strings if is_small or len(text) <= _SAMPLE]
        return [text for text in secrets if text.strip()], is_small

    @functools.cached_property
    def _samples(self) -> set[str]:
        joined = "\0".join(self._secrets[0])
        return set(_parts(joined, _STEP))


@functools.cache
def _hidden_fields(request: type[attrs.AttrsInstance]) -> list[str]:
    return [field.name for field in attrs.fields(request) if field.repr is not True]


def _strings_in(values: list[object]) -> list[str]:
    """Each string and number in them, and in what is JSON text, until there are too many."""
    strings: list[str] = []
    for value in values:
        is_text = isinstance(value, str | int) and not isinstance(value, bool)
        strings.append(str(value) if is_text else "")
        if is_text:
            if strings[-1].lstrip()[:1] in {"{", "["} and sum(map(len, strings)) <= _MAX_SECRETS:
                with suppress(ValueError, RecursionError):
                    values.append(decode_json(strings[-1].encode()))
        elif isinstance(value, Mapping):
            values += cast("Mapping[str, object]", value).values()
        elif isinstance(value, list | tuple):
            values += cast("list[object]", value)
        elif attrs.has(type(value)):
            values += attrs.astuple(cast("Any", value), recurse=False)
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
    if text.isascii():
        return text.lower()
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").casefold()


def _words(text: str) -> str:
    """Each word with a space on both sides."""
    return f" {' '.join(_WORD.findall(text))} "


def _parts(text: str, step: int = 1) -> list[str]:
    """Parts of the text that are as long as a sample, so many characters apart."""
    return [text[at : at + _SAMPLE] for at in range(0, len(text) - _SAMPLE + 1, step)]
