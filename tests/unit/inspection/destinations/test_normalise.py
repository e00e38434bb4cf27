from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.inspection.destinations import hosts
from gateway.inspection.destinations.normalise import MAX_ONE, DestinationKind, fold_text, normalise

FORMS = [
    "bob@example.com", "bob@[2001:db8::1]", '"a b"@example.com', "example.com:8443", "intranet.", "intranet.:8080",
    "localhost", "[::1]:8080", "s3://bucket", "/srv/data", "../a", "./a", "c:/users/bob", "\\\\server\\share",
    "Report.txt", "#general", "@bob", "le marais", "+14155550100", "GB82WEST12345698765432", "sip:bob@example.com",
]  # fmt: skip


@pytest.mark.parametrize("value", FORMS)
def test_a_normal_form_is_its_own(value: str):
    assert normalise(value).value == value


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("bob@example.com", "bob@example.com.evil.example"),
        ("bob@example.com", "rob@example.com"),
        ("bob@example.com", "bob+x@example.com"),
        ("bob@example.com", "b.ob@example.com"),
        ("bob@example.com", "bob@ex\u0430mple.com"),
        ("bob", "https://bob/"),
        ("bob", "@bob"),
        ("bob", "#bob"),
        ("@bob", "#bob"),
        ("bob", "bo\u200bb"),
        ("bob", "ｂob"),
        ("example.com", "https://example.com:8443"),
        ("https://good.example", "https://good.example\\@evil.example"),
        ("/a/b", "/A/b"),
        ("/a/b", "a/b"),
        ("/a/b", "/a%2Fb"),
        ("/a/../../b", "../b"),
        ("../../a", "../a"),
        ("Report.txt", "report.txt"),
        ("-1001234567", "1001234567"),
        ("+14155550100", "14155550100"),
        ("s3://bucket", "gs://bucket"),
        ("s3://bucket", "https://bucket"),
        ("s3://bucket", "s3://Bucket"),
        ("~/a", "~/../a"),
        ("a" * (MAX_ONE + 1), "a" * (MAX_ONE + 2)),
        ("sip:bob@example.com", "bob@example.com"),
        ("\u0131stanbul", "istanbul"),
    ],
)
def test_a_different_destination_never_merges(one: str, other: str):
    assert normalise(one).value != normalise(other).value


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("evil%2ecom/collect", DestinationKind.HOST, "evil.com"),
        ("bob\n@evil.example", DestinationKind.MAIL, "bob@evil.example"),
        ("@-@\u2121com4", DestinationKind.USER, "@-@telcom4"),
    ],
)
def test_an_address_that_only_folding_and_decoding_show_is_that_address(text: str, kind: DestinationKind, value: str):
    found = normalise(text)

    assert (found.kind, found.value) == (kind, value)


def test_what_has_no_normal_form_stands_for_itself():
    odd = "https://good.example\\@evil.example"

    assert normalise(odd).value == odd
    assert normalise(odd).kind is DestinationKind.NAME


def test_what_does_not_show_is_kept():
    assert normalise("Bo\u200bb").value == "Bo\u200bb"


@pytest.mark.parametrize(
    ("text", "word"),
    [("#General", "general"), ("@Bob", "bob"), ("https://intranet", "intranet"), ("a@x.example", "a@x.example")],
)
def test_a_word_has_no_mark_of_its_kind(text: str, word: str):
    assert normalise(text).word == word


def test_a_mixed_alphabet_is_told():
    assert normalise("bob@ex\u0430mple.com").is_mixed
    assert not normalise("bob@example.com").is_mixed


ODD = st.text(alphabet='ab@.:/\\,;"<>()[]{}#%+ \t\n\u0430\u200b\u0130ß09-') | st.text()


@given(ODD)
@example("0 \\")
@example("a / b/..")
@example("a/.. /")
def test_a_normal_form_of_anything_is_its_own(text: str):
    value = normalise(text).value

    assert normalise(value).value == value


@given(st.text())
def test_folding_twice_changes_nothing(text: str):
    assert fold_text(fold_text(text)) == fold_text(text)


LINKS = st.from_regex(
    r"https?://[a-zA-Z0-9-]{1,5}(\.[a-z0-9-]{1,5}){0,3}\.?[a-z0-9:@\\]{0,4}([/?#][!-~]{0,20})?", fullmatch=True
)


@given(LINKS)
def test_a_link_leads_to_the_host_of_its_url(text: str):
    found, link = hosts.url(text), normalise(text)

    if found is not None and found.reached is not None and "." in found.reached and "%" not in text:
        assert link.value == found.reached
