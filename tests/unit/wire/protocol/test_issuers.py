"""Which URLs of an issuer may be asked, and where its metadata is."""

from __future__ import annotations

import pytest

from gateway.wire.oauth_flow import is_acceptable_url, is_downgrade


@pytest.mark.parametrize(
    "url",
    [
        "https://idp.example/keys",
        "https://idp.example:8443",
        "http://127.0.0.1:1/keys",
        "http://[::1]/keys",
        "http://localhost/",
    ],
)
def test_acceptable_urls(url: str):
    assert is_acceptable_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "keys",
        "file:///etc/passwd",
        "ftp://idp.example/keys",
        "http://idp.example/keys",
        "http://localhost:80@evil.example/",
        "https://user:pass@idp.example/keys",
        "https://idp.example/keys#x",
        "https://:443/keys",
        "https://idp.example:99999/keys",
        "https://idp.example:0/keys",
        "http://[::1/keys",
        "http://10.0.0.1/keys",
    ],
)
def test_urls_that_are_not_acceptable(url: str):
    assert not is_acceptable_url(url)


def test_metadata_served_over_tls_may_not_lead_out_of_it():
    assert is_downgrade("http://127.0.0.1:9/token", "https://idp.example")
    assert not is_downgrade("http://127.0.0.1:9/token", "http://127.0.0.1:9")
    assert not is_downgrade("https://idp.example/token", "http://127.0.0.1:9")
