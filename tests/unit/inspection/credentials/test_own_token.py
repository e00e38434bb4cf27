"""The caller's own tokens do not travel on: whole, in pieces, or in another form."""

from __future__ import annotations

import base64
import binascii
import json
import string
from collections.abc import Callable
from random import Random
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.credentials.corpus import negatives
from gateway.inspection.credentials.caller_tokens import (
    OF_THE_GATEWAY,
    WHOLE,
    CallerTokens,
    Found,
    TokenSearch,
    find_tokens,
    look_through,
    secret_of,
)
from gateway.inspection.credentials.fingerprint import Fingerprints
from gateway.model.content import CredentialPiece
from gateway.model.shingles import is_exposed
from gateway.model.wire import Headers
from tests.unit.live import live_values

KEYED = Fingerprints(b"k" * 32)
SIGNATURE = "MEUCIQDsecretsecretsecretsecretsecret_-x"
TOKEN = f"eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.{SIGNATURE}"
BEARER = (f"Bearer {TOKEN}",)
INNOCENT = b'{"params":{"arguments":{"text":"a\\nb","list":[1,null,{"k":["v"]}]}}}'


def look(authorization: tuple[str, ...], headers: Headers, body: bytes) -> Found:
    """Return the tokens in a message as the gateway finds them: the registry says which tokens are searched for."""
    live = live_values()
    tokens = CallerTokens(KEYED, live)
    tokens.take("ada", authorization, 0.0)
    searches = tokens.searches("ada", look_through(live, headers, body, has_tokens=True))
    return find_tokens(searches, headers, body, KEYED) if searches else ()


def is_carried(authorization: tuple[str, ...], headers: Headers, body: bytes) -> bool:
    """Whether a message has a token whole."""
    return look(authorization, headers, body) == WHOLE


def pieces(authorization: tuple[str, ...], headers: Headers, body: bytes) -> tuple[CredentialPiece, ...]:
    found = look(authorization, headers, body)
    assert found != WHOLE
    return found


def escaped(text: str) -> str:
    return "".join(f"\\u{ord(character):04x}" for character in text)


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"params": {"arguments": {"text": f"my token is {TOKEN}"}}}),
        json.dumps({"params": {"arguments": {TOKEN: 1}}}),
        json.dumps({"params": {"arguments": {"list": [{"deep": [SIGNATURE]}]}}}),
        json.dumps({"text": SIGNATURE[:-1] + "y"}),
        f'{{"text":"{escaped(TOKEN)}"}}',
        f'{{"{escaped(TOKEN)}":1}}',
        f'{{"text":"{escaped(SIGNATURE[:3])}{SIGNATURE[3:]}"}}',
        f'{{"list":[1,{{}},["{escaped(SIGNATURE)}"],null]}}',
        '{"text":"\\u00"',
    ],
)
def test_a_token_in_a_call_is_found_however_it_is_written(body: str):
    assert is_carried(BEARER, (), body.encode())


@pytest.mark.parametrize(
    "headers", [((b"x-upstream-auth", f"Bearer {TOKEN}".encode()),), ((b"mcp-param-a", SIGNATURE.encode()),)]
)
def test_a_token_in_another_header_is_found(headers: Headers):
    assert is_carried(BEARER, headers, b"")


def as_hex(data: bytes) -> bytes:
    return data.hex().encode()


def as_large_hex(data: bytes) -> bytes:
    return data.hex().upper().encode()


@pytest.mark.parametrize("before", ["", "u", "u:", "user:"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode, as_hex, as_large_hex])
def test_a_token_in_one_more_encoding_is_found(before: str, encode: Callable[[bytes], bytes]):
    """As a client has it that speaks with the server behind in its own way."""
    coded = encode(f"{before}{TOKEN} and more".encode())

    assert is_carried(BEARER, ((b"x-upstream-auth", b"Basic " + coded),), b"")
    assert is_carried(BEARER, (), b'{"text":"' + coded + b'"}')
    assert is_carried(BEARER, (), f'{{"text":"{escaped(coded.decode())}"}}'.encode())


def test_a_token_in_percent_signs_is_found():
    coded = "".join(f"%{byte:02x}" for byte in TOKEN.encode()).encode()

    assert is_carried(BEARER, ((b"referer", b"https://a.example/?t=" + coded),), b"")
    assert is_carried(BEARER, (), b'{"text":"' + coded + b'"}')
    assert not is_carried(BEARER, (), b'{"text":"' + b"%41" * 100 + b'"}')


OPAQUE = "a~~~tok/en+that~~~no~~~body/reads~~~"


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode, as_hex])
def test_a_token_that_is_no_jwt_is_found_as_a_whole(encode: Callable[[bytes], bytes]):
    for authorization in (f"Bearer {OPAQUE}", f" Bearer   {OPAQUE}== "):
        for before in ("", "u", "u:"):
            assert is_carried((authorization,), (), b'"x' + encode(f"{before}{OPAQUE}".encode()) + b'"')
        assert is_carried((authorization,), (), f'{{"text":"{OPAQUE}"}}'.encode())


@pytest.mark.parametrize("coded", [quote(OPAQUE, safe=""), OPAQUE.replace("~", "%7e", 1), f"%61{OPAQUE[1:]}"])
def test_a_token_of_which_little_is_in_percent_signs_is_found(coded: str):
    assert is_carried((f"Bearer {OPAQUE}",), ((b"referer", f"https://a.example/?t={coded}".encode()),), b"")


@pytest.mark.parametrize("authorization", [(), BEARER, ("Bearer short",), ("Basic",), ("",), (f"DPoP   {TOKEN}  ",)])
def test_a_call_without_the_token_is_innocent(authorization: tuple[str, ...]):
    for body in (INNOCENT, b""):
        assert not is_carried(authorization, ((b"accept", b"application/json"),), body)


# --- in pieces -----------------------------------------------------------------------------------------

RANDOM = "".join(Random(5).choices(string.ascii_letters + string.digits + "-_", k=86))
ES256 = (f"Bearer eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.{RANDOM}",)
LONG = "".join(Random(6).choices(string.ascii_letters + string.digits + "-_", k=342))
RS256 = (f"Bearer eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.{LONG}",)
SECRET = "".join(Random(7).choices(string.ascii_letters + string.digits, k=32))
TOKENS = {"ES256": (ES256, RANDOM), "RS256": (RS256, LONG), "opaque": ((f"Bearer {SECRET}",), SECRET)}


def found(authorization: tuple[str, ...], text: str, headers: Headers = ()) -> bool:
    """Whether each message with the text, and of them the one with headers, has more than half of the token."""
    body = json.dumps({"params": {"arguments": {"text": text}}}).encode()
    return all(
        is_more_than_half(authorization, *sent) for sent in (((), body), ((*headers, (b"x-note", text.encode())), b""))
    )


def is_more_than_half(authorization: tuple[str, ...], headers: Headers, body: bytes) -> bool:
    """Whether a message would be refused."""
    result = look(authorization, headers, body)
    return result == WHOLE or any(is_exposed(piece.shingles, piece.grams) for piece in result)


def spread(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


def percent(text: str) -> str:
    return "".join(f"%{ord(character):02X}" for character in text)


def uuencode(text: str) -> str:
    lines = "".join(binascii.b2a_uu(part.encode()).decode() for part in spread(text, 45))
    return f"begin 644 a\n{lines}`\nend\n"


WRITTEN: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "spaced": " ".join,
    "dashed": "-".join,
    "in capitals": str.upper,
    "in lines": lambda text: "\n".join(spread(text, 10)),
    "reversed": lambda text: text[::-1],
    "reversed and spaced": lambda text: " ".join(text[::-1]),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 twice": lambda text: base64.b64encode(base64.b64encode(text.encode())).decode(),
    "base64 in lines": lambda text: "\n".join(spread(base64.b64encode(text.encode()).decode(), 7)),
    "spaced, as base64": lambda text: base64.b64encode(" ".join(text).encode()).decode(),
    "pieces in base64": lambda text: " and ".join(
        base64.b64encode(part.encode()).decode() for part in spread(text, 14)
    ),
    "spaced, as hex": lambda text: " ".join(text).encode().hex(),
    "hex of base64": lambda text: base64.b64encode(text.encode()).hex(),
    "hex with colons": lambda text: text.encode().hex(":"),
    "base64 with dashes": lambda text: "-".join(base64.b64encode(text.encode()).decode()),
    "hex with spaces": lambda text: " ".join(text.encode().hex()),
    "quoted-printable": lambda text: "".join(f"={ord(letter):02X}" for letter in text),
    "every other letter in quoted-printable": lambda text: "".join(
        letter if at % 2 else f"={ord(letter):02X}" for at, letter in enumerate(text)
    ),
    "base64 of UTF-16": lambda text: base64.b64encode(text.encode("utf-16-le")).decode(),
    "base64 of UTF-16 from the high byte on": lambda text: base64.b64encode(f"a{text}".encode("utf-16-be")).decode(),
    "pieces in base64 of UTF-16": lambda text: " and ".join(
        base64.b64encode(part.encode("utf-16-le")).decode() for part in spread(text, 24)
    ),
    "hex of UTF-16": lambda text: text.encode("utf-16-le").hex(),
    "percent signs of base64 of UTF-16": lambda text: percent(base64.b64encode(text.encode("utf-16-le")).decode()),
    "base85": lambda text: base64.b85encode(text.encode()).decode(),
    "Ascii85": lambda text: base64.a85encode(f"ab{text}".encode()).decode(),
    "pieces in base85": lambda text: " and ".join(
        base64.b85encode(part.encode()).decode() for part in spread(text, 24)
    ),
    "uuencode": uuencode,
    "JSON in JSON": lambda text: f'{{"a":"{escaped(text)}"}}',
    "percent signs": percent,
    "every other letter in percent signs": lambda text: "".join(
        letter if at % 2 else percent(letter) for at, letter in enumerate(text)
    ),
    "percent signs twice": lambda text: percent(percent(text)),
    "with marks": lambda text: "".join(letter + "\u0301" for letter in text),
    "with characters that do not show": "\u200b".join,
    "in full width": lambda text: "".join(chr(ord(letter) + 0xFEE0) for letter in text),
    "in copies that do not show": lambda text: "".join(chr(ord(letter) + 0xE0000) for letter in text),
    "in a link": lambda text: f"https://a.example/x?t={text}",
    "most of it": lambda text: text[len(text) // 3 :],
}


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize("way", WRITTEN)
def test_a_token_in_pieces_is_found(token: str, way: str):
    authorization, secret = TOKENS[token]
    assert found(authorization, WRITTEN[way](secret[:-1]))
    assert found(authorization, f"here it comes: {WRITTEN[way](secret[:-1])} and more")


def test_a_token_that_is_one_line_of_uuencode_is_found():
    body = json.dumps({"params": {"arguments": {"text": binascii.b2a_uu(SECRET.encode()).decode()}}}).encode()
    assert is_more_than_half((f"Bearer {SECRET}",), (), body)


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize("size", [1, 2, 5, 9])
def test_a_token_in_several_arguments_is_found(token: str, size: int):
    authorization, secret = TOKENS[token]
    parts = spread(secret[:-1], size)
    named = {f'argument\\ "{number}": ': part for number, part in enumerate(parts)}
    for arguments in (named, {"parts": parts}, [{"part": part, "n": None} for part in parts]):
        body = json.dumps({"params": {"arguments": arguments}}).encode()
        assert is_more_than_half(authorization, (), body)


@pytest.mark.parametrize("token", TOKENS)
def test_a_token_in_names_and_in_any_order_is_found(token: str):
    authorization, secret = TOKENS[token]
    parts = spread(secret[:-1], 20 if token == "RS256" else 12)
    body = json.dumps({"params": {"arguments": dict.fromkeys(reversed(parts), 1)}}).encode()
    assert is_more_than_half(authorization, (), body)
    assert is_more_than_half(authorization, tuple((part.lower().encode(), b"1") for part in parts), b"")


def test_a_token_of_digits_in_numbers_is_found():
    digits = "".join(Random(9).choices(string.digits[1:], k=40))
    body = json.dumps({"numbers": [int(part) for part in spread(digits, 4)]}).encode()
    assert is_more_than_half((f"Bearer {digits}",), (), body)


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize("parts", [3, 4])
def test_a_part_of_a_token_is_a_piece(token: str, parts: int):
    authorization, secret = TOKENS[token]
    size = len(secret) // parts
    body = json.dumps({"text": f"note {secret[:size]}"}).encode()
    (piece,) = pieces(authorization, (), body)
    assert (piece.fingerprint, piece.shown_by) == (KEYED.of(secret[:-1]), OF_THE_GATEWAY)
    assert piece.grams
    assert is_exposed(piece.shingles, piece.grams) is False


@pytest.mark.parametrize("authorization", [(), ("Bearer short",), ("Basic",), *(token for token, _ in TOKENS.values())])
def test_other_messages_have_no_piece_of_it(authorization: tuple[str, ...]):
    for _, text in negatives(Random(8), 6):
        assert pieces(authorization, ((b"x-note", b"nothing"),), json.dumps({"text": text}).encode()) == ()


HONEST = {
    "the header of a token": ES256[0].split()[1].split(".")[0],
    "the claims of a token": ".".join(ES256[0].split()[1].split(".")[:2]),
    "another token of the issuer": f"{ES256[0].rpartition('.')[0]}.{RANDOM[::-1].swapcase()[::3]}{SECRET}",
    "the address of an issuer": "https://login.example/realms/agents/.well-known/openid-configuration",
    "base64": base64.b64encode(b'{"after":"9f8e7d6c5b4a","order":"newest first"}').decode(),
    "German": "Bitte schön, größere Straßen …",
    "percent signs": "https://a.example/?q=100%25%20more%20or%20less",
}


@pytest.mark.parametrize("token", ["ES256", "RS256"])
@pytest.mark.parametrize("case", HONEST)
def test_what_only_looks_like_it_is_no_piece(token: str, case: str):
    body = json.dumps({"params": {"arguments": {"text": HONEST[case]}}}).encode()
    assert pieces(TOKENS[token][0], ((b"x-note", HONEST[case].encode()),), body) == ()


def test_each_token_is_searched_for_by_itself():
    both = (ES256[0], f"Bearer {SECRET}")
    body = json.dumps({"a": RANDOM[:30], "b": SECRET[:12]}).encode()
    assert [piece.fingerprint for piece in pieces(both, (), body)] == [KEYED.of(RANDOM[:-1]), KEYED.of(SECRET[:-1])]


def test_a_text_full_of_pieces_has_the_token():
    body = json.dumps({"text": f"{RANDOM[:20]} and " * 2_000}).encode()
    assert is_more_than_half(ES256, (), body)


def test_a_token_without_letters_is_found_as_a_whole():
    odd = "~!-~_+~.*~" * 3
    assert is_carried((f"Bearer {odd}",), (), json.dumps({"text": f"so: {odd}"}).encode())
    assert pieces((f"Bearer {odd}",), (), json.dumps({"text": odd[:15]}).encode()) == ()


def test_a_token_with_two_dots_and_a_short_end_is_taken_as_a_whole():
    assert secret_of(f"Bearer v1.{SECRET}.x") == f"v1.{SECRET}.".encode()


def test_the_search_does_not_show_the_token():
    search = TokenSearch(secret_of(ES256[0]), KEYED)
    assert RANDOM[:8] not in repr(search)


@given(
    st.recursive(st.none() | st.text() | st.integers() | st.floats(allow_nan=False, allow_infinity=False), st.lists),
    st.binary(max_size=300),
)
@settings(deadline=None, max_examples=100)
def test_nothing_makes_the_search_fail(value: object, header: bytes):
    assert pieces(ES256, ((b"x", header),), json.dumps(value).encode()) == ()
