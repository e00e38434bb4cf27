"""Where requests go."""

from __future__ import annotations

import pytest

from gateway.wire.http.dial import Address, address_of_socket, address_of_url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://h/mcp", Address("h", 80, tls=False, authority=b"h", target=b"/mcp")),
        ("https://H.Example", Address("h.example", 443, tls=True, authority=b"h.example", target=b"/")),
        ("https://h:8443/a?b=c", Address("h", 8443, tls=True, authority=b"h:8443", target=b"/a?b=c")),
        ("http://[::1]:9/x#part", Address("::1", 9, tls=False, authority=b"[::1]:9", target=b"/x")),
        ("http://h:80/", Address("h", 80, tls=False, authority=b"h", target=b"/")),
        ("http://bücher.example/", Address("xn--bcher-kva.example", 80, False, b"xn--bcher-kva.example", b"/")),  # noqa: FBT003 - a value
        ("http://h/a b/ü%2F?q=ä", Address("h", 80, tls=False, authority=b"h", target=b"/a%20b/%C3%BC%2F?q=%C3%A4")),
    ],
)
def test_a_url_is_taken_apart_as_it_will_be_sent(url: str, expected: Address):
    assert address_of_url(url) == expected


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("ftp://h/", "not an http"),
        ("http:///mcp", "not an http"),
        ("http://user:secret@h/", "names a user"),
        ("http://user@h/", "names a user"),
        ("http://h:99999/", "out of range"),
        ("http://\u2488com/", "no domain name"),
    ],
)
def test_what_is_no_address_is_refused(url: str, problem: str):
    with pytest.raises(ValueError, match=problem):
        address_of_url(url)


def test_a_line_end_in_a_url_does_not_reach_the_request_line():
    assert b"\r" not in address_of_url("http://h/a\r\nx-b: 1").target
    assert b" " not in address_of_url("http://h/a\r\nx-b: 1").target


def test_a_unix_socket_has_a_name_of_its_own():
    found = address_of_socket("/run/opa.sock", "opa")

    assert (found.socket, found.authority, found.tls) == ("/run/opa.sock", b"opa", False)
