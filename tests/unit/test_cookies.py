"""From a result to cookies: told by what the frameworks themselves put into Set-Cookie."""

import json
import time
from collections.abc import Callable
from http.cookies import Morsel, SimpleCookie
from typing import Any

import attrs
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from descope_native import FinishResult
from descope_native.cookies import Cookie, make_cookies

TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl"
REFRESH = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJib2IifQ.c2lnbmF0dXJl"
PLAIN = FinishResult(session_jwt=TOKEN, refresh_jwt=REFRESH)


def with_http_cookies(cookie: Cookie) -> str:
    jar: SimpleCookie = SimpleCookie()
    jar[cookie.name] = cookie.value
    for name, value in cookie.attributes.items():
        if value is not None:
            jar[cookie.name][name.replace("_", "-")] = value
    return jar[cookie.name].OutputString()


def with_aiohttp(cookie: Cookie) -> str:
    response = web.Response()
    response.set_cookie(cookie.name, cookie.value, **cookie.attributes)
    return response.cookies[cookie.name].OutputString()


def with_fastapi(cookie: Cookie) -> str:
    response = pytest.importorskip("fastapi").Response()
    response.set_cookie(cookie.name, cookie.value, **cookie.attributes)
    return str(response.headers["set-cookie"])


def with_starlette(cookie: Cookie) -> str:
    response = pytest.importorskip("starlette.responses").Response()
    response.set_cookie(cookie.name, cookie.value, **cookie.attributes)
    return str(response.headers["set-cookie"])


def with_litestar(cookie: Cookie) -> str:
    response = pytest.importorskip("litestar").Response(None)
    response.set_cookie(cookie.name, cookie.value, **cookie.attributes)
    return str(response.cookies[0].to_header(header=""))


def with_quart(cookie: Cookie) -> str:
    response = pytest.importorskip("quart").Response()
    response.set_cookie(cookie.name, cookie.value, **cookie.attributes)
    return str(response.headers["Set-Cookie"])


def with_flask(cookie: Cookie) -> str:
    response = pytest.importorskip("flask").Response()
    response.set_cookie(cookie.name, cookie.value, **cookie.attributes)
    return str(response.headers["Set-Cookie"])


def with_sanic(cookie: Cookie) -> str:
    response = pytest.importorskip("sanic").text("")
    response.add_cookie(cookie.name, cookie.value, **cookie.attributes)
    return str(response.headers["Set-Cookie"])


def with_django(cookie: Cookie) -> str:
    response = pytest.importorskip("django.http").HttpResponse(content_type="text/plain")
    response.set_cookie(cookie.name, cookie.value, **cookie.attributes)
    return str(response.cookies[cookie.name].OutputString())


Emit = Callable[[Cookie], str]
FRAMEWORKS: list[Emit] = [
    with_fastapi,
    with_starlette,
    with_litestar,
    with_quart,
    with_flask,
    with_sanic,
    with_django,
]
EMITTERS = [
    with_http_cookies,
    with_aiohttp,
    *(pytest.param(emit, marks=pytest.mark.apps) for emit in FRAMEWORKS),
]
every_framework = pytest.mark.parametrize(
    "emit", EMITTERS, ids=lambda emit: emit.__name__.removeprefix("with_")
)


def parsed(line: str) -> tuple[str, dict[str, str]]:
    """The pair, and the attributes as a browser would read them: names in any case, the last one wins."""
    pair, *attributes = line.split(";")
    split = (attribute.partition("=") for attribute in attributes)
    return pair, {name.strip().lower(): value.strip().lower() for name, _, value in split}


@every_framework
def test_a_framework_takes_a_cookie_as_it_is(emit: Emit) -> None:
    """Every attribute reaches the header of every framework, with one spelling of the call."""
    result = attrs.evolve(PLAIN, cookie_domain="example.com", cookie_path="/api", cookie_max_age=3600)
    pair, sent = parsed(emit(make_cookies(result)[1]))
    sent.pop("expires", None)  # some frameworks add what old browsers want
    assert pair == f"DSR={REFRESH}"
    assert sent == {
        "domain": "example.com",
        "path": "/api",
        "max-age": "3600",
        "samesite": "lax",
        "secure": "",
        "httponly": "",
    }


@every_framework
def test_what_is_none_or_false_stays_out_of_the_header(emit: Emit) -> None:
    """A host-only cookie until the browser closes has neither Domain nor Max-Age nor Expires."""
    session, _ = make_cookies(PLAIN, secure=False, httponly=False, samesite="strict")
    assert parsed(emit(session)) == (f"DS={TOKEN}", {"path": "/", "samesite": "strict"})


@every_framework
def test_no_server_data_makes_a_framework_fail(emit: Emit) -> None:
    """Ages beyond any calendar, reserved names, characters of no header: each framework still sets both."""
    emit(make_cookies(PLAIN)[0])  # skips here where the framework is not installed
    for name in ("Path", "expires", "$a", "a b", "a=b", "a;b", "a\r\nb", "ä", "", "x" * 5000, "Partitioned"):
        for age in (10**30, -1, 0):
            for place in (
                "a\r\nSet-Cookie: x=y",
                "; Domain=evil",
                "ü.example",
                "/ü",
                "\x00",
                "💥",
                "x" * 5000,
            ):
                result = attrs.evolve(
                    PLAIN,
                    session_cookie_name=name,
                    cookie_name=name,
                    cookie_max_age=age,
                    cookie_expiration=age,
                    session_expiration=age,
                    cookie_domain=place,
                    session_cookie_domain=place,
                    cookie_path=place,
                )
                lines = [parsed(emit(cookie)) for cookie in make_cookies(result)]
                assert [pair for pair, _ in lines] == [f"DS={TOKEN}", f"DSR={REFRESH}"]
                assert all(sent["path"] == "/" and "domain" not in sent for _, sent in lines)


hostile = st.none() | st.text() | st.text(alphabet="ab.-/:;, =%\r\n\t\x00_$", max_size=12)
numbers = st.none() | st.integers()


@given(
    names=st.tuples(hostile, hostile),
    domains=st.tuples(hostile, hostile),
    path=hostile,
    ages=st.tuples(*[numbers] * 3),
)
def test_any_server_data_makes_one_header_line_that_reads_back(
    names: tuple[Any, Any], domains: tuple[Any, Any], path: Any, ages: tuple[Any, Any, Any]
) -> None:
    """Whatever the strings and numbers, a line holds one pair, our attributes, and nothing injected."""
    result = FinishResult(
        session_jwt=TOKEN,
        refresh_jwt=REFRESH,
        session_cookie_name=names[0],
        cookie_name=names[1],
        session_cookie_domain=domains[0],
        cookie_domain=domains[1],
        cookie_path=path,
        session_expiration=ages[0],
        cookie_max_age=ages[1],
        cookie_expiration=ages[2],
    )
    session, refresh = make_cookies(result)
    assert session.name != refresh.name
    for cookie, token in ((session, TOKEN), (refresh, REFRESH)):
        line = with_aiohttp(cookie)
        assert line.isascii()
        assert line.isprintable()
        pair, sent = parsed(line)
        assert pair == f"{cookie.name}={token}"
        assert sent.keys() <= {"domain", "path", "max-age", "samesite", "secure", "httponly"}
        assert sent["path"] == cookie.path.lower()
        (morsel,) = SimpleCookie(line).values()
        assert (morsel.key, morsel.value) == (cookie.name, token)


def test_the_names_are_those_of_the_answer() -> None:
    """``cookieName`` names the refresh cookie, ``sessionCookieName`` the session's."""
    result = attrs.evolve(PLAIN, cookie_name="my-refresh", session_cookie_name="my-session")
    assert [(c.name, c.value) for c in make_cookies(result)] == [
        ("my-session", TOKEN),
        ("my-refresh", REFRESH),
    ]


def test_each_token_has_the_domain_that_is_its_own() -> None:
    """The session does not travel as far as the refresh token only because that one has a domain."""
    session, refresh = make_cookies(attrs.evolve(PLAIN, cookie_domain="example.com"))
    assert (session.domain, refresh.domain) == (None, "example.com")
    session, refresh = make_cookies(attrs.evolve(PLAIN, session_cookie_domain="app.example.com"))
    assert (session.domain, refresh.domain) == ("app.example.com", None)


def test_one_name_for_both_tokens_is_no_name() -> None:
    """Of two cookies with one name a browser keeps the last, so both go back to the usual names."""
    refresh, session = json.loads('["token", "token"]')  # as from an answer: equal, and not the same object
    both = attrs.evolve(PLAIN, cookie_name=refresh, session_cookie_name=session)
    one = attrs.evolve(PLAIN, cookie_name="DS")
    for result in (both, one):
        assert [cookie.name for cookie in make_cookies(result)] == ["DS", "DSR"]


def test_without_a_refresh_token_there_is_one_cookie() -> None:
    """A project may be set to give none, and an empty cookie would delete one that is there."""
    assert [cookie.name for cookie in make_cookies(FinishResult(session_jwt=TOKEN))] == ["DS"]


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        ("example.com", "example.com"),
        (".Example.COM", "example.com"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("a-1.example.com", "a-1.example.com"),
        ("com", None),
        ("localhost", None),
        ("127.0.0.1", None),
        ("::1", None),
        ("example.com.", None),
        (".a.Example", "a.example"),
        ("..example.com", None),
        ("-a.example.com", None),
        ("a-.example.com", None),
        ("example.com:443", None),
        ("example.com\n", None),
        ("exa mple.com", None),
        ("a.example.com, b.example.com", None),
        ("example.com; Secure", None),
        ("bücher.example", None),
        ("\u0661.example", None),
        (f"{'a' * 63}.example", f"{'a' * 63}.example"),
        (f"{'a' * 64}.example", None),
        (f"{'a.' * 126}b", f"{'a.' * 126}b"),
        (f"{'a.' * 127}b", None),
        ("", None),
    ],
)
def test_a_domain_is_a_plain_host_name_or_none(domain: str, expected: str | None) -> None:
    """What a browser would refuse, or a header would break on, becomes a host-only cookie."""
    assert make_cookies(attrs.evolve(PLAIN, cookie_domain=domain))[1].domain == expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("example.com", "example.com"),
        ("API.example.com:8443", "example.com"),
        ("api.example.org", None),
        ("notexample.com", None),
        ("EXAMPLE.COM:8443", "example.com"),
        ("com", None),
        ("[::1]:8000", None),
        ("", None),
    ],
)
def test_a_domain_that_does_not_cover_the_host_is_left_out(host: str, expected: str | None) -> None:
    """A browser drops a cookie for somebody else's domain (RFC 6265 §5.3); host-only it is kept."""
    assert make_cookies(attrs.evolve(PLAIN, cookie_domain="example.com"), host=host)[1].domain == expected


@pytest.mark.parametrize("path", ["/", "/a/b", "/%7Ea", "/a-b_c.d~e!$&'()*+,:@="])
def test_a_path_is_kept_where_it_is_one(path: str) -> None:
    """All that RFC 3986 lets into a path, but for the semicolon."""
    assert make_cookies(attrs.evolve(PLAIN, cookie_path=path))[0].path == path


@pytest.mark.parametrize(
    "path", ["", "a", "/a;b", "/a b", "/a\n", "/\x00", "/ä", "/a?b", "/a#b", "/" + "a" * 1024]
)
def test_a_path_that_is_none_becomes_the_root(path: str) -> None:
    """Also one that is so long that browsers ignore it (RFC 6265bis §5.6)."""
    assert make_cookies(attrs.evolve(PLAIN, cookie_path=path))[0].path == "/"


def test_times_become_ages() -> None:
    """The session cookie lives as long as the session, the refresh cookie for its age, else to its time."""
    before = int(time.time())
    result = attrs.evolve(PLAIN, session_expiration=before + 600, cookie_expiration=before + 7200)
    session, refresh = make_cookies(result)
    after = int(time.time())
    assert session.max_age in range(before + 600 - after, 601)
    assert refresh.max_age in range(before + 7200 - after, 7201)
    assert make_cookies(attrs.evolve(result, cookie_max_age=60))[1].max_age == 60


def test_an_age_is_never_zero_negative_or_beyond_what_browsers_keep() -> None:
    """A cookie that is over at once would lose the session to a wrong clock; 400 days are the limit."""
    longest = 400 * 86400
    for age, expected in ((0, None), (-1, None), (1, 1), (longest - 1, longest - 1), (longest + 1, longest)):
        assert make_cookies(attrs.evolve(PLAIN, cookie_max_age=age))[1].max_age == expected
    for over in (1, int(time.time())):
        assert make_cookies(attrs.evolve(PLAIN, session_expiration=over))[0].max_age is None


@pytest.mark.parametrize("name", ["__Host-session", "__HOST-session"])
def test_a_name_that_promises_one_host_is_kept_to_it(name: str) -> None:
    """Browsers refuse ``__Host-`` with a Domain, another Path or without Secure."""
    result = attrs.evolve(
        PLAIN, session_cookie_name=name, session_cookie_domain="example.com", cookie_path="/api"
    )
    session, refresh = make_cookies(result, secure=False)
    assert (session.domain, session.path, session.secure) == (None, "/", True)
    assert (refresh.path, refresh.secure) == ("/api", False)


def test_a_name_that_promises_https_is_kept_to_it() -> None:
    """Browsers refuse ``__Secure-`` without Secure, and let it have a Domain."""
    result = attrs.evolve(PLAIN, cookie_name="__Secure-r", cookie_domain="example.com", cookie_path="/api")
    refresh = make_cookies(result, secure=False)[1]
    assert (refresh.domain, refresh.path, refresh.secure) == ("example.com", "/api", True)


def test_options_that_no_browser_takes_are_refused() -> None:
    """``SameSite=None`` without Secure is dropped by browsers; any fourth word is ignored by them."""
    assert make_cookies(PLAIN, samesite="none")[0].samesite == "none"
    with pytest.raises(ValueError, match="secure=True"):
        make_cookies(PLAIN, samesite="none", secure=False)
    with pytest.raises(ValueError, match="'lax', 'strict' or 'none'"):
        make_cookies(PLAIN, samesite="Lax")  # type: ignore[arg-type]


def test_no_token_is_in_a_repr() -> None:
    """A logged cookie gives no session away."""
    assert TOKEN not in repr(make_cookies(PLAIN))
    assert REFRESH not in repr(make_cookies(PLAIN))


@pytest.mark.parametrize("name", ["n\u00e4me", "\u0661", "\u017fession"])
def test_a_name_beyond_ascii_is_no_cookies(name: str) -> None:
    """A letter to Python, and none to RFC 9110."""
    (session, *_) = make_cookies(attrs.evolve(PLAIN, session_cookie_name=name))
    assert session.name == "DS"


@pytest.mark.parametrize("spelled", [str.lower, str.upper, str.title])
def test_the_name_of_an_attribute_is_no_name_of_a_cookie(spelled: Callable[[str], str]) -> None:
    """In any case; what ``http.cookies`` refuses would be lost with every framework built on it."""
    for name in (*Morsel().keys(), "partitioned"):
        (session, _) = make_cookies(attrs.evolve(PLAIN, session_cookie_name=spelled(name)))
        assert session.name == "DS", name
