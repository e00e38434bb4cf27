from __future__ import annotations

import base64
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.credentials.written_forms import SHORTEST, written_forms

VALUES = st.text(min_size=SHORTEST, max_size=40).filter(lambda text: text.isprintable())


@given(value=VALUES, before=st.binary(max_size=5), after=st.binary(max_size=5))
def test_base64_of_any_surroundings_has_a_form(value: str, before: bytes, after: bytes):
    surrounded = before + value.encode() + after

    for encoded in (base64.b64encode(surrounded), base64.urlsafe_b64encode(surrounded)):
        assert any(form in encoded.decode() for form in written_forms(value)[1:])


@given(value=VALUES, before=st.binary(max_size=5), after=st.binary(max_size=5))
def test_hex_and_percent_encoding_have_a_form(value: str, before: bytes, after: bytes):
    surrounded = before + value.encode() + after
    forms = written_forms(value)

    assert any(form in surrounded.hex() for form in forms)
    assert any(form in surrounded.hex().upper() for form in forms)
    assert any(form in quote(value, safe="") for form in forms)
    assert any(form in "".join(f"%{byte:02X}" for byte in surrounded) for form in forms)


@pytest.mark.parametrize("value", ["", "short", "1234567"])
def test_a_short_value_has_no_further_form(value: str):
    assert written_forms(value) == (value,)


def test_no_form_stands_twice():
    forms = written_forms("eyJhbGciOiJFUzI1NiJ9.e30.c2ln")

    assert len(set(forms)) == len(forms)
