from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.inspection.destinations.find import _LINK, MAX_TEXT, _find_linked, _links, distinct, links, listed, texts
from gateway.inspection.destinations.normalise import Destination


def values(text: str) -> list[str]:
    return [destination.value for destination in listed(text)]


SPELLINGS = {
    "bob@example.com": [
        "bob@EXAMPLE.com",
        "BOB@example.com",
        "bob@example.com.",
        "<bob@example.com>",
        "Bob <bob@example.com>",
        '"Bob, of Example" <bob@example.com>',
        '"mallory@evil.example" <bob@example.com>',
        "bob@example.com (Bob, the builder)",
        '"bob"@example.com',
        '"b\\ob"@example.com',
        "mailto:bob@example.com",
        "MAILTO:bob%40example.com",
        "mailto:bob@example.com?subject=a,b",
        "<@relay.example:bob@example.com>",
        "bob@example。com",
        "bob@ｅｘａｍｐｌｅ.com",
        "Friends: bob@example.com;",
        '["bob@example.com"]',
        "bob@example.com <bob@example.com>",
        "bob@example.com, Bob <BOB@example.com>; bob@example.com",
        "bob@example.com\nbob@example.com",
        "bob@exam\u00adple.com",
    ],
    "bob+tag@example.com": ["Bob+Tag@Example.com"],
    "bob@xn--bcher-kva.example": ["bob@bücher.example", "bob@BU\u0308CHER.example", "bob@XN--BCHER-KVA.example"],
    "bob@[127.0.0.1]": ["bob@[127.0.0.1]"],
    "bob@[2001:db8::1]": ["bob@[IPv6:2001:DB8:0::1]"],
    '"a b"@example.com': ['"a b"@Example.com'],
    "example.com": ["https://example.com/a", "EXAMPLE.com", "example.com.", "example.com:443", "example.com/a/b", "//example.com"],
    "example.com:8443": ["https://u@example.com:8443/a", "EXAMPLE.com:8443"],
    "intranet.": ["https://intranet/", "http://INTRANET:80/x"],
    "localhost": ["http://localhost/", "LOCALHOST", "ｌocalhost", "localhost%2e"],
    "localhost:8080": ["localhost:8080", "http://localhost:8080/a"],
    "127.0.0.1": ["127.0.0.1", "http://0x7f.1/", "http://2130706433"],
    "[::1]:8080": ["[::1]:8080", "http://[::1]:8080/"],
    "db.acme:8443": ["db.acme:8443/x", "https://db.acme:8443"],
    "[::1]": ["::1", "[::1]", "http://[0:0::1]/"],
    "github.com": ["git@github.com:owner/name.git", "ssh://git@github.com/owner/name.git"],
    "s3://bucket": ["s3://bucket/a", "s3a://bucket", "S3://bucket/b/c"],
    "/srv/data": ["/srv/data", "/srv//data/", "/srv/./data", "/srv/x/../data", "/../srv/data", "/srv/%64ata", "file:///srv/data", "file:/srv/data", "file://localhost/srv/data"],
    "a/b": ["a/b", "./a/b", "a//b/", "a/c/../b", "a\\b"],
    "internal/docs": ["internal/docs", "./internal/docs"],
    ".example.com/x": [".example.com/x"],
    "~example.com/x": ["~example.com/x"],
    "/server/share": ["//server/share"],
    "../a": ["../a", "./../a"],
    "./a": ["./a", "x/../a"],
    "c:/users/bob": ["C:\\Users\\Bob", "c:/users/bob/", "C:/Users/x/../Bob", "file:///C:/Users/Bob"],
    "\\\\server\\share": ["\\\\server\\share", "\\\\SERVER\\share\\"],
    "Report.txt": ["Report.txt"],
    "#general": ["#General", "#general ", " #GENERAL"],
    "@bob": ["@Bob", "@BOB"],
    "le marais boutique": ["Le Marais Boutique", " Le  Marais\u00a0Boutique"],
    "+14155550100": ["+1 (415) 555-0100", "+1.415.555.0100", "0014155550100", "tel:+1-415-555-0100", "+14155550100"],
    "1234567": ["12-34567", "12 34567"],
    "1234567890": ["12-3456-7890", "12 3456 7890", "1234567890"],
    "GB82WEST12345698765432": ["GB82 WEST 1234 5698 7654 32", "gb82west12345698765432", "GB82-WEST-1234-5698-7654-32"],
    "sip:bob@example.com": ["SIP:Bob@Example.com"],
}  # fmt: skip


@pytest.mark.parametrize(("value", "text"), [(value, text) for value, spelled in SPELLINGS.items() for text in spelled])
def test_spelling_neither_hides_nor_multiplies(value: str, text: str):
    assert distinct([text]) == {value}


def test_no_two_of_these_destinations_are_one():
    assert len(distinct(SPELLINGS)) == len(SPELLINGS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a@x.example, b@x.example", ["a@x.example", "b@x.example"]),
        ("a@x.example b@x.example", ["a@x.example", "b@x.example"]),
        ("a@x.example;b@x.example,\n c@x.example", ["a@x.example", "b@x.example", "c@x.example"]),
        ('"a@x.example, b@x.example"', ["a@x.example", "b@x.example"]),
        ("<a@x.example, b@x.example>", ["a@x.example", "b@x.example"]),
        ("a@x.example <b@x.example>", ["b@x.example", "a@x.example"]),
        ("A <a@x.example>B <b@x.example>", ["a@x.example", "b@x.example"]),
        ("team: a@x.example, b@x.example;", ["a@x.example", "b@x.example"]),
        ("mailto:a@x.example,b@x.example?cc=c@x.example&BCC=d%40x.example&subject=e@x.example",
         ["a@x.example", "b@x.example", "c@x.example", "d@x.example"]),
        ("mailto:a@x.example, mailto:b@x.example", ["a@x.example", "b@x.example"]),
        ("a@x.example, mailto:b@x.example?bcc=c@x.example", ["a@x.example", "b@x.example", "c@x.example"]),
        ("(@alice)", ["(@alice)"]),
        ("/a\nb", ["/a", "b"]),
        ('"unclosed, a@x.example, b@x.example', ['"unclosed', "a@x.example", "b@x.example"]),
        ("(unclosed, a@x.example", ["(unclosed", "a@x.example"]),
        ('["a@x.example", ["b@x.example, c@x.example"]]', ["a@x.example", "b@x.example", "c@x.example"]),
        ('{"to": "a@x.example", "cc": [7, true, null, 1.5]}', ["a@x.example", "7", "true", "1.5"]),
        ("[not json", ["[not json"]),
        ("[1", ["[1"]),
        ("bob, alice", ["bob", "alice"]),
        ("#general,#random", ["#general", "#random"]),
        ("https://a.example/x,y;z", ["a.example"]),
        ("https://a.example/x,https://b.example", ["a.example", "b.example"]),
        ("https://a.example, b.example", ["a.example", "b.example"]),
        ("https://a.example https://b.example", ["a.example", "b.example"]),
        ("see https://a.example", ["a.example"]),
        ("/a,b", ["/a,b"]),
        ("/a,/b", ["/a", "/b"]),
        ("/a\n/b", ["/a", "/b"]),
        ("Alice alice@x.example", ["alice@x.example"]),
        ("a@x.example|b@x.example", ["a@x.example", "b@x.example"]),
        ("a@x.example，b@x.example；c@x.example、d@x.example", ["a@x.example", "b@x.example", "c@x.example", "d@x.example"]),
        ("https://a.example/x|y", ["a.example"]),
        ("https://a.example|https://b.example", ["a.example", "b.example"]),
        ("a@x.example (b@x.example)", ["a@x.example", "b@x.example"]),
        ("A <a@x.example> (or b@x.example, B <c@x.example>)", ["a@x.example", "c@x.example", "b@x.example"]),
        ('"(" <a@x.example> ")" <b@x.example>', ["a@x.example", "b@x.example"]),
        ("#general #random", ["#general", "#random"]),
        ("#general @bob", ["#general", "@bob"]),
        ("a.example b.example:8080", ["a.example", "b.example:8080"]),
        ("+14155550100 +14155550101", ["+14155550100", "+14155550101"]),
        ("+1 415 555 0100", ["+14155550100"]),
        ("/srv/a /srv/b", ["/srv/a", "/srv/b"]),
        ("/srv/a file.txt", ["/srv/a file.txt"]),
        ("alice bob", ["alice bob"]),
        ("<https://a.example/x>", ["a.example"]),
        ("a@[1.2.3.4", ["a@[1.2.3.4"]),
        ("@a@b.example", ["@a@b.example"]),
        (",;,", []),
        (" ", []),
        ("", []),
    ],
)  # fmt: skip
def test_each_item_of_a_list_counts(text: str, expected: list[str]):
    assert values(text) == expected


def test_a_long_text_counts_for_what_it_lists_and_for_the_rest():
    text = "a@x.example," * MAX_TEXT

    found = set(values(text))

    assert "a@x.example" in found
    assert any(value.endswith(")") for value in found)


def test_a_text_that_is_nested_too_deep_to_be_json_counts_as_one():
    assert len(values("[" * MAX_TEXT)) == 1


def test_texts_of_a_value_are_its_leaves_in_order():
    assert list(texts({"a": ["x", {"b": 2.0}], "c": None, "d": False})) == ["x", "2", "false"]


def test_a_name_of_a_member_that_is_an_address_counts():
    found = texts(
        {"bob@example.com": "Bob", "https://a.example": {}, "#team": 1, "+14155550100": 2, "b.example": 3, "to": 4}
    )

    assert set(found) == {
        "bob@example.com",
        "Bob",
        "https://a.example",
        "#team",
        "+14155550100",
        "b.example",
        *"1234",
    }


ODD = st.text(alphabet='ab@.:/\\,;"<>()[]{}#%+ \t\n\u0430\u200b\u0130ß09-') | st.text()
LOCAL = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)
DOMAIN = st.from_regex(r"[a-z]{1,8}\.(example|com)", fullmatch=True)


@given(ODD)
def test_nothing_that_is_not_blank_is_dropped(text: str):
    if any(letter.isalnum() for letter in text):
        assert values(text) or text.lstrip()[:1] in {"[", "{"} or "mailto:" in text.lower()


@given(st.lists(st.tuples(LOCAL, DOMAIN), min_size=1, max_size=8, unique=True), st.data())
def test_a_list_of_addresses_counts_each_once_in_every_writing(pairs: list[tuple[str, str]], data: st.DataObject):
    forms = ["{0}@{1}", "{0}@{2}", "Name <{0}@{1}>", '"A, B" <{0}@{2}>', "{0}@{1}.", '"{0}"@{1}', "<{0}@{1}>"]
    written = [
        data.draw(st.sampled_from(forms)).format(local, name, name.upper()) for local, name in pairs for _ in range(2)
    ]
    expected = {f"{local}@{name}" for local, name in pairs}

    assert (
        distinct([data.draw(st.sampled_from([",", ", ", ";", "\n", "|", " | ", "，", "、"])).join(written)]) == expected
    )
    assert distinct([json.dumps(written)]) == expected
    assert distinct(written) == expected


@given(
    DOMAIN,
    st.sampled_from(["http", "https", "wss"]),
    st.sampled_from(["", "u@", "u:p@", "a.example@"]),
    st.sampled_from(["", "/", "/x", "?y", "#z"]),
)
def test_a_url_counts_as_its_host_in_every_writing(name: str, scheme: str, user: str, tail: str):
    assert distinct([f"{scheme.upper()}://{user}{name.upper()}{tail}", name, f"{name}."]) == {name}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Check out this link: www.evil.example", {"www.evil.example"}),
        ("![chart](https://evil.example/p?d=secret)", {"evil.example"}),
        ("[a](//evil.example/x) and <img src='HTTP:\\\\evil.example'>", {"evil.example"}),
        ("see evil.com/x, or (https://b.example).", {"evil.com", "b.example"}),
        ("http://0x7f.1/ wss://a.example:8443", {"127.0.0.1", "a.example:8443"}),
        ("https://good.example\\@evil.example/page", {"https://good.example\\@evil.example/page"}),
        ("a/b.txt, src/main.py, and/or, 1/2, n/a, // comment, bob@example.com, v1.2/x, lib.rs/x, www.", set[str]()),
        ("<img src='https:&#47;&#47;evil.click/x'>", {"evil.click"}),
        ("<img src='https&colon;&sol;&sol;evil.click/x'>", {"evil.click"}),
        ("![](https:&#x2f;/evil.click/x)", {"evil.click"}),
        ('<img src="ht\ntps:/\t/evil.cl\nick/x">', {"evil.click"}),
        ('<img src="https:/&NewLine;/evil.click/x">', {"evil.click"}),
        ("<img src=https:evil.click/x>", {"evil.click"}),
        ("see evil.com?d=secret or evil.com:8443?x=1", {"evil.com", "evil.com:8443"}),
        ("Is it evil.com? AT&T; a &amp; b, x < y, https:", set[str]()),
        ("nothing", set[str]()),
    ],
)
def test_the_links_of_a_text_are_found(text: str, expected: set[str]):
    assert {link.value for link in links(text)} == expected


BEGUN = ["https://a.example", "HTTP://b-c.EVIL.example"]
NAMES = ["https://", "HTTP:", "//", "www.", "a.example", "EVIL.example", "xn--a.example", "/path", "?q=1", "@", ":8080"]
MARKS = list("\"'<>[]{}|^`,.:;)!*_~%\\é\u3000\ud800 \n-x1")


@given(
    st.sampled_from(["", *MARKS]), st.sampled_from(BEGUN), st.lists(st.sampled_from(NAMES + MARKS + BEGUN), max_size=6)
)
def test_a_link_that_is_known_at_a_glance_is_what_it_would_be_taken_apart(mark: str, begun: str, rest: list[str]):
    text = "".join([mark, begun, *rest])
    apart: set[Destination] = {link for word in text.split() if _LINK.search(word) for link in _links(word)}

    assert set(_find_linked(text)) == apart
