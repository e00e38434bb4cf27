"""The caller's own token does not travel on."""

from __future__ import annotations

import json

import pytest

from gateway.inspection.tokens import shows
from gateway.model import Headers

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
        '{"text":"\\u00"',
    ],
)
def test_a_token_in_a_call_is_found_however_it_is_written(body: str):
    assert shows(BEARER, (), body.encode())


@pytest.mark.parametrize(
    "headers", [((b"x-upstream-auth", f"Bearer {TOKEN}".encode()),), ((b"mcp-param-a", SIGNATURE.encode()),)]
)
def test_a_token_in_another_header_is_found(headers: Headers):
    assert shows(BEARER, headers, b"")


@pytest.mark.parametrize("authorization", [(), BEARER, ("Bearer short",), ("Basic",), ("",), (f"DPoP   {TOKEN}  ",)])
def test_a_call_without_the_token_is_innocent(authorization: tuple[str, ...]):
    assert not shows(authorization, ((b"accept", b"application/json"),), INNOCENT)
