"""What must not come back out: a service may quote the secrets that it was sent. Nothing here waits."""

import functools
import html
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from typing import Final, cast
from unicodedata import normalize
from urllib.parse import unquote

import attrs

from descope_native._service.json_text import decode_json

WITHHELD: Final = "withheld: it quotes the request"

_MAX_SHOWN: Final = 300
_MAX_READINGS: Final = 10
_MAX_VALUES: Final = 200
_MAX_SECRETS: Final = 9 * 1024  # characters, a few times what a phone sends
_RUN: Final = 12
_PART, _STEP = 10, 3  # a run of twelve characters has a whole part in it, wherever the first part begins

# In lower case. Complete, or cut short: its parts begin with what base64 makes of '{"'.
_TOKEN: Final = re.compile(r"eyj[\w-]{8}|[\w-]{16}\.[\w-]{16,}\.", re.ASCII)
_WORD: Final = re.compile(r"\w+")
_HEX: Final = "[0-9a-fA-F]"
_ESCAPE: Final = re.compile(
    rf"(?:\\|%)u({_HEX}{{4}})|\\x({_HEX}{{2}})|\\u\{{((?:10|{_HEX})?{_HEX}{{1,4}})\}}"
    rf"|\\U00((?:10|0{_HEX}){_HEX}{{4}})|\\(.)",
    re.DOTALL,
)
_CONTROLS: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class Redactor:
    """Withholds a text that has a token, the key, or what a request hides from its ``repr`` in it.

    A secret is recognised whole or by twelve characters in a row: in capitals, and as URLs, HTML, JSON, Go
    and JavaScript spell it, in layers too. Where there is more to compare than a phone sends, the text is
    withheld as well.
    """

    # No pattern is made of a secret: `re` would remember it for as long as the process lives.

    def __init__(self, request: attrs.AttrsInstance, key: str | None) -> None:
        self._request = request
        self._key = key

    def show(self, text: str) -> str:
        """The first 300 characters, those that cannot be printed as spaces; or that it is withheld."""
        shown = _printable(text[:_MAX_SHOWN]).strip()
        # Twice as many are read, or a secret that the cut goes through could not be told for one.
        return WITHHELD if shown and self._is_quoted_in(text[: 2 * _MAX_SHOWN]) else shown

    def finds_secret_in(self, name: str) -> bool:
        """Whether an error code or a trace id has a secret in it. Fewer than six characters are chance."""
        name = _fold(name)
        secrets, all_secrets = self._secrets
        if any(len(secret) >= 6 and secret in name for secret in secrets):
            return True
        if all_secrets is None:
            return len(name) >= _RUN
        # Each good answer has a trace id, for which a set of all parts of the secrets would cost too much.
        return any(part in all_secrets for part in _parts(name, _STEP))

    def _is_quoted_in(self, text: str) -> bool:
        readings = _readings(text)
        text = "\0".join(map(_fold, readings))
        secrets, all_secrets = self._secrets
        if all_secrets is None or len(readings) > _MAX_READINGS or _TOKEN.search(text):
            return True
        words = f"{text}\0{_words(text)}"
        is_known = any(secret in words for secret in secrets if len(secret) < _RUN)
        return is_known or not set(_parts(all_secrets, _STEP)).isdisjoint(_parts(text))

    @functools.cached_property
    def _secrets(self) -> tuple[list[str], str | None]:
        """The secrets, and all of them in one text; None instead of that where it would be too long."""
        fields = attrs.fields(type(self._request))
        hidden = [getattr(self._request, field.name) for field in fields if field.repr is not True]
        strings = list(islice(_strings_in([self._key, *hidden]), _MAX_VALUES + 1))
        is_small = len(strings) <= _MAX_VALUES and sum(map(len, strings)) <= _MAX_SECRETS
        secrets: dict[str, None] = {}
        for text in strings:
            if is_small or len(text) < _RUN:
                # Two or three letters stand in many words.
                is_word = len(text.strip()) <= 3 and text.isascii()
                secrets[_words(_fold(text)) if is_word else _fold(text)] = None
        secrets.pop("", None)
        return list(secrets), "\1".join(secrets) if is_small else None


def _strings_in(value: object) -> Iterator[str]:
    """Each string and large number in it, in JSON text too, and "" for each other value."""
    yield value if isinstance(value, str) else str(value) if type(value) is int and value > 999 else ""
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
        for undo in (html.unescape, unquote, _undo_escapes):
            if (plain := undo(reading)) not in readings:
                readings.append(plain)
        if len(readings) > _MAX_READINGS:
            break
    return readings


def _undo_escapes(text: str) -> str:
    def char(escape: re.Match[str]) -> str:
        *digits, other = escape.groups()
        return _CONTROLS.get(other, other) if other else chr(int(next(filter(None, digits)), 16))

    return _ESCAPE.sub(char, text)


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)


def _fold(text: str) -> str:
    """The same for capitals, for halves of a surrogate pair, for a plus and whatever is shown as a space."""
    if not text.isascii():
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").casefold()
        text = normalize("NFKC", text.replace("i\u0307", "i").replace("\u0131", "i"))  # as Turkish has it
    return " ".join(_printable(text).casefold().replace("+", " ").split())


def _words(text: str) -> str:
    """Each word with a space on both sides."""
    words = _WORD.findall(text)
    return f" {' '.join(words)} " if words else ""


def _parts(text: str, step: int = 1) -> list[str]:
    return [text[at : at + _PART] for at in range(0, len(text) - _PART + 1, step)]
