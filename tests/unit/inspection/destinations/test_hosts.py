from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.inspection.destinations import hosts


@pytest.mark.parametrize(
    "text",
    [
        "https://example.com",
        "HTTPS://EXAMPLE.COM/",
        "https://example.com:443/a?b#c",
        "https://example.com./",
        "http://example.com:80",
        "https://good.example@example.com/",
        "https://user:pass%40word@example.com/",
        "https://a@b@example.com/",
        "http:example.com",
        "http:/example.com",
        "http:\\\\example.com\\path",
        "https:///example.com",
        "https:" + "/" * 70 + "example.com",
        "//example.com/path",
        " \thttps://example.com",
        "ht\ntps://exa\tmple.com",
        "https://ex%61mple.com",
        "https://ｅｘａｍｐｌｅ.com",
        "https://example。com",
        "https://exam\u00adple.com",
        "jdbc:https://example.com",
        "wss://example.com#@other.example",
        "https://example.com?@other.example",
    ],
)
def test_one_host_has_one_form_however_its_url_is_written(text: str):
    found = hosts.url(text)

    assert found is not None
    assert found.reached == "example.com"


@pytest.mark.parametrize(
    ("text", "reached"),
    [
        ("https://example.com:8443/", "example.com:8443"),
        ("https://example.com:08443/", "example.com:8443"),
        ("https://example.com:65535/", "example.com:65535"),
        ("https://example.com.evil.example", "example.com.evil.example"),
        ("https://example.com@evil.example", "evil.example"),
        ("https://sub.example.com", "sub.example.com"),
        ("postgresql://db.example:5432/x", "db.example"),
        ("postgresql://db.example:5433/x", "db.example:5433"),
        ("jdbc:mysql://db.example:3306/x", "db.example"),
        ("https://bücher.example", "xn--bcher-kva.example"),
        ("https://XN--BCHER-KVA.example", "xn--bcher-kva.example"),
        ("https://💩.example", "xn--ls8h.example"),
        ("https://bü_cher.example", "xn--b_cher-3ya.example"),
        ("https://straße.example", "xn--strae-oqa.example"),
        ("http://127.0.0.1", "127.0.0.1"),
        ("http://2130706433/", "127.0.0.1"),
        ("http://0x7f000001", "127.0.0.1"),
        ("http://0177.0.0.1", "127.0.0.1"),
        ("http://0x" + "0" * 40 + "7f000001", "127.0.0.1"),
        ("http://127.1", "127.0.0.1"),
        ("http://1.2.3.4", "1.2.3.4"),
        ("http://1.255.1", "1.255.0.1"),
        ("http://127.16777215", "127.255.255.255"),
        ("http://0x", "0.0.0.0"),
        ("http://0x7f.1:8080", "127.0.0.1:8080"),
        ("http://[::1]/", "[::1]"),
        ("http://[0:0:0:0:0:0:0:1]:443/", "[::1]"),
        ("http://[2001:DB8::1]:81/", "[2001:db8::1]:81"),
        ("http://[::ffff:127.0.0.1]/", "127.0.0.1"),
        ("s3://Bucket/key", "s3://Bucket"),
        ("s3a://Bucket/other", "s3://Bucket"),
        ("S3://key:word@Bucket", "s3://Bucket"),
        ("http://x://good.example", "x"),
    ],
)
def test_a_url_leads_to(text: str, reached: str):
    found = hosts.url(text)

    assert found is not None
    assert found.reached == reached


@pytest.mark.parametrize(
    "text",
    [
        "https://good.example\\@evil.example",
        "HTTPS://good.test\\@evil.test",
        "https://a b@example.com",
        "https://a`@example.com",
        "https://good.example\\.evil.example@other.example",
        "https://a b.example",
        "https://",
        "https://[::1",
        "https://[zz]",
        "https://example.com:65536",
        "https://a..b:8080",
        "https://1.256.1",
        "https://127.16777216",
        "https://1.2.3.4.0",
        "https://example.com:port",
        "https://256.256.256.256",
        "https://1.2.3.4.5",
        "https://%ff.example",
        "https://exa<mple.com",
        "https://a..b",
        "s3://",
    ],
)
def test_an_authority_with_more_than_one_reading_or_none_has_no_form(text: str):
    found = hosts.url(text)

    assert found is not None
    assert found.reached is None


@pytest.mark.parametrize(
    "text", ["", "example.com", "C:\\x", "/path", "///", "mailto:a@b.example", "file:///etc", "FILE:///etc", "a:b"]
)
def test_what_is_no_url_is_none(text: str):
    assert hosts.url(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a" * 1_001,
        "a b",
        "[::1",
        "ex\x00ample",
        "1.2.3.999",
        "[fe80::1%\u0430]",
        "a\ud800",
        "09.1",
        "-1.2.3.4",
        "1_0.1",
        "[1.2.3.4]",
        ".",
        "a%41\ud800",
    ],
)
def test_what_cannot_be_a_host_is_none(text: str):
    assert hosts.host(text) is None


def test_alphabets_that_look_alike_are_seen_mixed_in_both_spellings():
    shown = "\u0430pple.example"

    assert hosts.is_mixed(shown)
    assert hosts.is_mixed(hosts.domain(shown) or "")


@pytest.mark.parametrize(
    "text", ["apple", "bücher", "пример", "пример.com", "東京tower", "при✝мер", "xn--a", "xn--\u00e9"]
)
def test_one_alphabet_a_word_is_not_mixed(text: str):
    assert not hosts.is_mixed(text)


@given(st.text())
def test_a_form_is_its_own_form(text: str):
    found = hosts.authority(text)

    assert found is None or hosts.authority(found) == found


@given(st.text() | st.text(alphabet="htps:/\\@[].%:0x1a\u0430\t\n "))
def test_no_text_is_too_odd_to_be_read(text: str):
    found = hosts.url(text)

    assert found is None or found.reached is None or found.reached == found.reached.strip()
