from __future__ import annotations

import pytest

from gateway.inspection.destinations.find import MAX_LINK, find_followable, find_sole_link, followable, may_follow_links
from gateway.model.call import Call
from gateway.model.target import Effect, Labels, Role, Target
from gateway.model.wire import JsonObject


def call(arguments: JsonObject, effect: Effect = Effect.READ, *, trusted: bool = False) -> Call:
    labels = Labels(effect=effect, roles={"/url": Role.DESTINATION, "/a~1b": Role.DESTINATION, "/q": Role.SELECTOR})
    target = Target("tool", "web", "get", "web", trust="trusted" if trusted else "untrusted", labels=labels)
    return Call("tools/call", target, arguments)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("www.site.example", "www.site.example"),
        ("https://www.site.example/", "www.site.example"),
        ("http://site.example/News/2026-01_a~b.html", "site.example/News/2026-01_a~b.html"),
        ("site.example/a/", "site.example/a/"),
        ("https://" + "a" * 20 + ".example/" + "b" * (MAX_LINK - 37), "a" * 20 + ".example/" + "b" * (MAX_LINK - 37)),
    ],
)
def test_an_address_is_taken_letter_by_letter_without_its_scheme(text: str, found: str):
    assert followable(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "https://site.example/?q=secret",
        "https://site.example/#secret",
        "https://secret@site.example/",
        "https://site.example:8443/",
        "https://Site.example/",
        "https://site.example/a b",
        "https://site.example/\u0430",
        "https://sitе.example/",
        "https://site.example.",
        "https://192.0.2.1/",
        "https://[2001:db8::1]/",
        "https://localhost/",
        "https://build.internal/deploy",
        "https://printer.local/",
        "https://router.home.arpa/",
        "https://jenkins/job",
        "ftp://site.example/a",
        "file:///etc/passwd",
        "HTTPS://site.example/",
        "https:/site.example/",
        " https://site.example/",
        "https://site.example/\n",
        "https://site.example/" + "a" * MAX_LINK,
        "",
    ],
)
def test_what_could_say_something_or_reach_inside_is_no_link(text: str):
    assert followable(text) is None


def test_links_stand_whole_in_a_text():
    text = (
        "I read www.news.example! See (https://blog.example/me), <http://a.example/b>, "
        '"https://quoted.example/" and [this](https://markdown.example/x).\nwww.last.example.'
    )

    assert find_followable("see https://a.example/b") == {b"a.example/b"}
    assert find_followable(text) == {
        b"www.news.example",
        b"blog.example/me",
        b"a.example/b",
        b"quoted.example",
        b"markdown.example/x",
        b"www.last.example",
    }


@pytest.mark.parametrize(
    "text",
    [
        "setup.py and readme.md",
        "mail bob@site.example",
        "https://site.example/?q=1",
        "https://site.example/a#b",
        "x=https://site.example/a",
        "src/gateway/model.py",
        "https://internal/a",
        "",
    ],
)
def test_files_and_parts_of_addresses_are_no_links(text: str):
    assert find_followable(text) == set()


def test_a_call_that_is_one_link_says_no_more():
    assert find_sole_link(call({"url": "https://site.example/a"})) == ("/url", "site.example/a")
    assert find_sole_link(call({"a/b": "www.site.example"})) == ("/a~1b", "www.site.example")


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"url": "https://site.example/?q=1"},
        {"url": ["https://site.example/a"]},
        {"q": "https://site.example/a"},
        {"other": "https://site.example/a"},
        {"url": "https://site.example/a", "note": ""},
        {"url": "https://site.example/a", "page": 3},
        {"url": "https://site.example/a", "raw": True},
    ],
)
def test_a_call_that_says_anything_else_is_no_link(arguments: JsonObject):
    assert find_sole_link(call(arguments)) is None


def test_only_what_reads_something_untrusted_for_a_goal_sends_its_reader_on():
    assert may_follow_links(call({}), "read it")
    assert not may_follow_links(call({}), None)
    assert not may_follow_links(call({}, Effect.WRITE), "read it")
    assert not may_follow_links(call({}, trusted=True), "read it")
