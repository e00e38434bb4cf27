from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote

import pytest

from gateway.inspection.credentials.handles import (
    BACKSLASH,
    SIGN,
    Misplaced,
    Place,
    fits,
    mirror_headers,
    places,
    restored,
)
from gateway.model.target import Role
from gateway.wire.protocol.headers import decode, encode

HANDLE = "cred://AAAAAAAAAAA/BBBBBBBBBBBBBBBBBBBBBB"
OTHER = "cred://AAAAAAAAAAA/CCCCCCCCCCCCCCCCCCCCCC"
PLAIN = "sup3r-Secret_1"
WILD = 'a"b\\/..\n://@é'


def call(arguments: Any, **params: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "m", "params": {"arguments": arguments, **params}}).encode()


def found(body: bytes, decided: str = "arguments") -> tuple[Place, ...]:
    here = places(body, decided)
    assert not isinstance(here, Misplaced), here
    return here


@pytest.mark.parametrize(
    "written",
    [
        HANDLE,
        HANDLE.replace("/", "\\/"),
        HANDLE.replace("/", "\\u002f"),
        HANDLE.replace("c", "\\u0063", 1),
        "".join(f"\\u{ord(char):04X}" for char in HANDLE),
    ],
)
def test_a_handle_is_found_in_any_spelling_of_json(written: str):
    assert BACKSLASH in written.encode() or SIGN in written.encode()
    body = f'{{"params":{{"arguments":{{"deep":[{{"t":"Bearer {written}"}}]}}}}}}'.encode()
    (place,) = found(body)

    assert place.scalar.path == ("params", "arguments", "deep", 0, "t")
    assert list(place.named()) == [HANDLE]


def test_a_call_without_any_has_none():
    assert found(call({"a": "x", "b": ["cred:", "\\", "credit://x"]})) == ()
    assert found(call({"note": "what cred:// is, and cred:///x"})) == ()


@pytest.mark.parametrize(
    "text",
    [
        "cred://x", HANDLE[:-1], HANDLE + "x", HANDLE.upper(), HANDLE.replace("cred", "Cred"), HANDLE.replace("/B", "%2fB"),
        f"{HANDLE} and cred://y", HANDLE.replace("cred://", "cred://x@"),
    ],
)  # fmt: skip
def test_what_looks_like_a_handle_and_is_none_is_refused(text: str):
    here = places(call({"t": text}), "arguments")

    assert isinstance(here, Misplaced)
    assert "something like a handle" in here.message


def test_so_is_what_looks_like_one_once_its_escapes_are_read():
    body = call({"t": HANDLE.upper()}).replace(b"CRED", b"\\u0043RED")

    assert isinstance(places(body, "arguments"), Misplaced)


@pytest.mark.parametrize(
    "body",
    [
        call({HANDLE: 1}),
        call({"a": {HANDLE: "x"}}),
        call({}, _meta={"a": HANDLE}),
        call({}, requestState=HANDLE),
        call({}, inputResponses={"a": {"content": {"t": HANDLE}}}),
        call({}, name=HANDLE),
        json.dumps({"id": HANDLE, "params": {"arguments": {}}}).encode(),
    ],
)
def test_a_handle_anywhere_else_is_refused(body: bytes):
    assert isinstance(places(body, "arguments"), Misplaced)


@pytest.mark.parametrize(
    "text", [quote(HANDLE, safe=""), base64.b64encode(HANDLE.encode()).decode(), HANDLE.encode().hex()]
)
def test_one_that_is_encoded_is_text(text: str):
    """Nothing is put back for it, so nobody is told anything."""
    assert found(call({"t": text})) == ()


def test_one_cut_in_two_is_none():
    assert isinstance(places(call({"a": HANDLE[:20], "b": HANDLE[20:]}), "arguments"), Misplaced)
    assert found(call({"a": HANDLE[:7], "b": HANDLE[7:]})) == ()


def test_only_the_strings_that_hold_handles_are_written_anew():
    body = b'{ "params": {"arguments":{ "n": 1.50, "t" :"Bearer ' + HANDLE.encode() + b'", "u": "\\u0041\\/" , "x":"'
    body += OTHER.encode() + b'"}}}'
    here = found(body)
    made = restored(body, here, {HANDLE: PLAIN, OTHER: WILD})

    assert made == body.replace(HANDLE.encode(), PLAIN.encode()).replace(
        OTHER.encode(), json.dumps(WILD)[1:-1].encode()
    )
    assert json.loads(made)["params"]["arguments"]["x"] == WILD


def test_what_stands_behind_a_handle_stays():
    body = call({"t": f"a={HANDLE}&b=1"})

    assert json.loads(restored(body, found(body), {HANDLE: "v"}))["params"]["arguments"] == {"t": "a=v&b=1"}


def test_two_handles_of_one_string_are_put_back():
    body = call({"t": f"{HANDLE}:{OTHER}"})

    assert json.loads(restored(body, found(body), {HANDLE: "a", OTHER: "b"}))["params"]["arguments"] == {"t": "a:b"}


def test_a_value_that_looks_like_a_handle_is_not_put_back_again():
    body = call({"t": f"{HANDLE} {OTHER}"})
    made = json.loads(restored(body, found(body), {HANDLE: OTHER, OTHER: "b"}))

    assert made["params"]["arguments"]["t"] == f"{OTHER} b"


def fit(text: str, value: str, role: Role | None = None, *, uri: bool = False) -> bool:
    (place,) = found(call({"t": text}))
    return fits(place, value, place.handles[0], role, uri=uri)


@pytest.mark.parametrize("text", [HANDLE, f"Bearer {HANDLE}", f"Basic {HANDLE}", f"AWS4-HMAC-SHA256 {HANDLE}"])
def test_alone_in_an_argument_for_a_credential_any_value_fits(text: str):
    assert fit(text, WILD, Role.CREDENTIAL)
    assert fit(text, PLAIN)
    assert not fit(text, WILD)


@pytest.mark.parametrize("behind", [" x", ".evil.example", "@evil.example/", "/../x"])
def test_what_has_something_behind_it_is_not_alone(behind: str):
    """With the value in its place, that may be the host to which it goes."""
    assert not fit(f"{HANDLE}{behind}", WILD, Role.CREDENTIAL)
    assert not fit(f"{HANDLE}{behind}", PLAIN)


@pytest.mark.parametrize(
    "value", ["../../etc", "a/b", "x@evil.example", "a..b", "", "a b", "a\n", ".", "a%2e", "a?b", "é", "x\\y", 'a"b']
)
def test_a_value_that_could_mean_more_fits_nowhere_else(value: str):
    assert not fit(HANDLE, value)
    assert not fit(f"key={HANDLE}", value, Role.CREDENTIAL)
    assert not fit(f"db://h/x?key={HANDLE}", value, uri=True)


def test_among_other_words_a_plain_value_fits_where_it_cannot_be_a_host_or_a_path():
    assert fit(f'{{"token": "{HANDLE}"}}', PLAIN, Role.CREDENTIAL)
    assert fit(f"https://h.example/x?key={HANDLE}&b", PLAIN, Role.CREDENTIAL)
    assert fit(f"db://h.example/x?key={HANDLE}", PLAIN, uri=True)
    assert not fit(f"reports/{HANDLE}", PLAIN)
    assert not fit(f"https://docs.example:{HANDLE}@evil.example/", PLAIN, Role.CREDENTIAL)
    assert not fit(f"https://docs.example:{HANDLE}@evil.example/", PLAIN)
    assert not fit(f"https://{HANDLE}.example/?x", PLAIN, uri=True)
    assert not fit(f"a?b https://docs.example:{HANDLE}@evil.example/", PLAIN, Role.CREDENTIAL)
    assert not fit(f"a?b https://docs.example:{HANDLE}@evil.example/", PLAIN, uri=True)
    assert not fit(HANDLE, PLAIN, uri=True)
    assert not fit(f"docs.example {HANDLE}", PLAIN)


def test_headers_that_repeat_a_string_repeat_what_it_says_now():
    body = call({"t": f"Bearer {HANDLE}"})
    headers = (
        (b"mcp-param-token", f"Bearer {HANDLE}".encode()),
        (b"mcp-param-other", encode(f"Bearer {HANDLE}\u00e9")),
        (b"mcp-param-padded", f" Bearer {HANDLE}\t".encode()),
        (b"mcp-param-wrapped", b"=?base64?" + base64.b64encode(f"Bearer {HANDLE}".encode()) + b"?="),
        (b"mcp-name", b"tool"),
        (b"x-other", f"Bearer {HANDLE}".encode()),
        (b"mcp-param-broken", b"=?base64?x?="),
    )
    made = mirror_headers(headers, found(body), {HANDLE: "new\u00e9"})

    assert [decode(value.decode()) for name, value in made[:4] if name] == [
        "Bearer new\u00e9",
        f"Bearer {HANDLE}\u00e9",
        "Bearer new\u00e9",
        "Bearer new\u00e9",
    ]
    assert made[4:] == headers[4:]


@pytest.mark.parametrize("text", ["plain", " edge ", "", "é", "a\nb", "=?base64?eA==?=", "\ud800"])
def test_what_a_header_says_can_be_read_again(text: str):
    if text == "\ud800":
        assert decode(encode(text).decode()) is None
    else:
        assert decode(encode(text).decode()) == text
