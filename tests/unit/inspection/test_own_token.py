"""The caller's own token does not travel on."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from urllib.parse import quote

import pytest

from gateway.inspection.own_token import is_carried
from gateway.model.wire import Headers

SIGNATURE = "MEUCIQDsecretsecretsecretsecretsecret_-x"
TOKEN = f"eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.{SIGNATURE}"
BEARER = (f"Bearer {TOKEN}",)
INNOCENT = b'{"params":{"arguments":{"text":"a\\nb","list":[1,null,{"k":["v"]}]}}}'


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
            assert is_carried((authorization,), (), b"x" + encode(f"{before}{OPAQUE}".encode()))
        assert is_carried((authorization,), (), f'{{"text":"{OPAQUE}"}}'.encode())


@pytest.mark.parametrize("coded", [quote(OPAQUE, safe=""), OPAQUE.replace("~", "%7e", 1), f"%61{OPAQUE[1:]}"])
def test_a_token_of_which_little_is_in_percent_signs_is_found(coded: str):
    assert is_carried((f"Bearer {OPAQUE}",), ((b"referer", f"https://a.example/?t={coded}".encode()),), b"")


@pytest.mark.parametrize("authorization", [(), BEARER, ("Bearer short",), ("Basic",), ("",), (f"DPoP   {TOKEN}  ",)])
def test_a_call_without_the_token_is_innocent(authorization: tuple[str, ...]):
    for body in (INNOCENT, b""):
        assert not is_carried(authorization, ((b"accept", b"application/json"),), body)
