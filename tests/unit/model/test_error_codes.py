from __future__ import annotations

import pytest
from mcp_types import jsonrpc

from gateway.model import error_codes

OWN = ("REFUSED", "UPSTREAM_FAILED", "UNAVAILABLE", "UNAUTHENTICATED", "DENIED")


@pytest.mark.parametrize(
    ("name", "in_the_sdk"),
    [
        *((name, name) for name in ("PARSE_ERROR", "INVALID_REQUEST", "METHOD_NOT_FOUND", "INVALID_PARAMS")),
        *((name, name) for name in ("INTERNAL_ERROR", "HEADER_MISMATCH")),
        ("MISSING_CAPABILITY", "MISSING_REQUIRED_CLIENT_CAPABILITY"),
        ("UNSUPPORTED_VERSION", "UNSUPPORTED_PROTOCOL_VERSION"),
    ],
)
def test_the_codes_of_the_protocol_are_those_of_the_sdk(name: str, in_the_sdk: str):
    assert getattr(error_codes, name) == getattr(jsonrpc, in_the_sdk)


@pytest.mark.parametrize("name", OWN)
def test_the_gateways_own_codes_lie_outside_of_the_reserved_range(name: str):
    assert not -32768 <= getattr(error_codes, name) <= -32000


def test_no_two_of_the_gateways_own_codes_are_the_same():
    assert len({getattr(error_codes, name) for name in OWN}) == len(OWN)
