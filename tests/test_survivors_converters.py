"""The converter, in the words of its errors and at the edge of what a token is."""

from typing import Any

import pytest
from cattrs import ClassValidationError

from descope_native.converters import is_token, make_converter
from descope_native.models import FinishResult, User


@pytest.mark.parametrize(
    ("wanted", "value", "message"),
    [
        (FinishResult, {}, "While structuring FinishResult"),
        (User | None, 1, f"While structuring {User | None}"),
    ],
)
def test_what_does_not_fit_is_told_as_cattrs_does(wanted: Any, value: Any, message: str) -> None:
    """With the name of the class, where it has one, and the class itself."""
    with pytest.raises(ClassValidationError) as caught:
        make_converter().structure(value, wanted)
    assert caught.value.message == message
    assert caught.value.cl is wanted


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", False),
        ("a", True),
        ("a" * 16_384, True),
        ("a" * 16_385, False),
        ("a\u00e9", False),
        ("a;", False),
    ],
    ids=range(6),
)
def test_a_token_has_from_one_to_16384_cookie_octets(text: str, expected: bool) -> None:
    """RFC 6265 §4.1.1 gives the octets; none of them is no token, and more would fit into no header."""
    assert is_token(text) is expected


def test_a_required_token_that_is_odd_is_told_once() -> None:
    """What it was; what else was odd comes after, as in the wire's order."""
    with pytest.raises(ClassValidationError) as caught:
        make_converter().structure({"firstSeen": 1, "sessionJwt": " "}, FinishResult)
    assert [str(each) for each in caught.value.exceptions] == [
        "sessionJwt: expected token, found string",
        "firstSeen: expected boolean, found integer",
    ]


@pytest.mark.parametrize("other_tokens", [{}, {"refreshJwt": "r.e.f", "trustedDeviceJwt": "t.d.j"}], ids=len)
@pytest.mark.parametrize("left_out", [{}, {"sessionJwt": None}, {"sessionJwt": ""}], ids=str)
def test_a_required_token_that_is_left_out_is_told_once(
    left_out: dict[str, str | None], other_tokens: dict[str, str]
) -> None:
    """In each of the three ways in which the wire leaves something out, whatever other tokens there are."""
    answer = left_out | other_tokens
    with pytest.raises(ClassValidationError) as caught:
        make_converter().structure(answer, FinishResult)
    assert [str(each) for each in caught.value.exceptions] == ["sessionJwt: expected token, found nothing"]


def test_a_list_of_models_is_told_of_as_one_model_is() -> None:
    """Type and place, whoever asks for a container that no answer has."""
    with pytest.raises(ClassValidationError) as caught:
        make_converter().structure([{}, {"userId": 1}], list[User])
    assert [str(each) for each in caught.value.exceptions] == ["userId: expected string, found integer"]
