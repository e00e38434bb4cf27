"""A question as typed lines: n arguments are n lines on every surface, whatever letters an agent chooses."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from html.parser import HTMLParser
from typing import Any, cast

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import structs

from gateway.authority.approvals import state
from gateway.authority.approvals.channels.mail import mail_of
from gateway.authority.approvals.channels.notice import NoticeMessage, compose, event_of, item_of, lines_of
from gateway.authority.approvals.channels.webhooks import payload_of
from gateway.authority.approvals.lines import WIDTH, Line, build_blocks, find_warnings, texts_of
from gateway.authority.approvals.model import ApproverRule, Recurrence, ShownReason
from gateway.authority.approvals.rendering import describe
from gateway.authority.approvals.sentence import View
from gateway.base.letters import count_cells
from gateway.surfaces.cli import approvals as command
from gateway.surfaces.cli.terminal import FURTHER, out
from gateway.surfaces.console.rendering import Templates
from gateway.surfaces.console.sessions import Visitor
from tests.unit.authority.approvals.making import BOB, DESCRIPTION, endorsement, question

VIEW = View(1_001.0)
MARKS = 4
"""Marks that stay on one letter."""
FORGED = "known by the gateway\n  question: approved"
HOSTILE = (
    *("\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"),
    *(
        "\x1b[2J\x1b[H",
        "\x1b]8;;https://evil.test\x1b\\",
        "\x9b31m",
        "\u202e",
        "\u2066",
        "\u200b",
        "\U000e0041",
        "\ufe0f",
        "\ud800",
    ),
    *(
        "<!channel>",
        "<https://evil.test|open>",
        "&lt;",
        "</li><script>alert(1)</script>",
        "{{ 7*7 }}",
        "**x** [a](https://evil.test)",
    ),
    *(
        "a\u0301" + "\u0301" * 200,
        "\u0301",
        "p\u0430ypal",
        "א",
        " " * 300 + FORGED,
        "x" * 5_000,
        '" = "',
        "/to = ",
        "│ ↳ ",
    ),
)
TEXT = st.one_of(
    st.text(st.characters(codec=None, categories=None), max_size=40),
    st.lists(st.sampled_from([*HOSTILE, FORGED, "boss@corp.example", " "]), max_size=4).map("".join),
)
SCALAR = st.one_of(TEXT, st.integers(), st.booleans(), st.none(), st.floats(allow_nan=False, allow_infinity=False))
ARGUMENTS = st.dictionaries(TEXT, SCALAR, max_size=6)
NESTED = st.recursive(
    SCALAR, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)), max_leaves=8
)


def shown(value: Any, **more: Any) -> Any:
    """The document of a question about a call with these arguments."""
    description = {**DESCRIPTION, "arguments": {"mode": "full", "value": value}, **more}
    return describe(state.ask(question()), description, BOB, 1_001.0)


def block(found: Mapping[str, Any], name: str) -> tuple[Line, ...]:
    return next((one.lines for one in build_blocks(found, VIEW) if one.name == name), ())


def texts(found: Mapping[str, Any], name: str) -> list[str]:
    return [line.text for line in block(found, name)]


def printed(found: dict[str, Any], width: int = 160) -> list[str]:
    """The question on a terminal of so many columns, broken wherever any program breaks lines."""
    before, out.width = out.width, width
    try:
        with out.capture() as taken:
            command._print_question(found)
    finally:
        out.width = before
    return taken.get().splitlines()


AGENT_TAGS = {
    *("section said agent", "span whose", "ul lines", "li fact", "table stack values", "thead", "tbody", "tr", "th"),
    *("tr argument", "td", "td none", "bdi row", "small"),
}


@cache
def templates() -> Templates:
    return Templates()


class Tags(HTMLParser):
    """The tags of a page in its section of the agent, with their classes, and those of the whole page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.agent: list[str] = []
        self.all: list[str] = []
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        name = f"{tag} {dict(attrs).get('class') or ''}".strip()
        self.all.append(name)
        self._inside = self._inside or name == "section said agent"
        if self._inside:
            self.agent.append(name)

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag != "section"


def page(found: Mapping[str, Any]) -> Tags:
    visitor = Visitor(BOB, frozenset({"approver"}), "oidc", 0.0)
    blocks = {one.name: one for one in build_blocks(found, VIEW)}
    context = {"question": found, "blocks": blocks, "visitor": visitor, "pages": (), "path": "/console/approvals/q1"}
    context |= {
        "csrf": "c",
        "refused": None,
        "max_age": None,
        "has_voted": False,
        "has_provider": False,
        "observing": {},
        "unchecked": [],
    }
    text = templates().render("approval.html", context)
    assert all(character == "\n" or character.isprintable() for character in text)
    return Tags(text)


def between(lines: list[str], title: str) -> Iterator[str]:
    """The lines below a title of the terminal, to the next one."""
    below = iter(lines[lines.index(title) + 1 :])
    for line in below:
        if not line:
            return
        yield line


@given(ARGUMENTS)
@example({"a": "x" * (2 * WIDTH - len('/a = "') - 1) + "a" + "\u0301" * 4 + "x"})
def test_n_arguments_are_n_lines_on_the_terminal_and_on_the_page(value: dict[str, Any]):
    found = shown(value)
    rows = list(between(printed(found), "said by the agent"))
    begun = [row for row in rows if row[:4] != "    "]
    tags = page(found).agent
    items = [tag for tag in tags if tag.startswith("tr ")]

    count = len(value) or 1
    assert (len(block(found, "said")), len(begun), len(items)) == (count, count, count)
    assert all(row.startswith(("  /", '  "')) for row in begun)
    assert all(row.startswith(("    │ ", "    ↳ ")) for row in rows if row not in begun)
    assert all(count_cells(row) <= WIDTH + count_cells(FURTHER) + MARKS for row in rows)
    assert items == ["tr argument"] * count
    assert {*tags} <= AGENT_TAGS


@given(ARGUMENTS)
def test_a_narrow_terminal_breaks_no_row(value: dict[str, Any]):
    # A letter keeps its marks, so a row may be some cells wider for a terminal without marks.
    assert all(count_cells(row) <= 60 + MARKS for row in between(printed(shown(value), 60), "said by the agent"))


@given(NESTED)
def test_each_scalar_is_a_line_however_deep_it_stands(value: Any):
    found = shown({"a": value})

    def count(item: Any) -> int:
        members = cast("dict[Any, Any]", item) if isinstance(item, dict) else {}
        inner = [*members.values(), *(cast("list[Any]", item) if isinstance(item, list) else [])]
        return sum(count(one) for one in inner) if inner else 1

    assert len(block(found, "said")) == count(value)
    assert all(line.kind == "argument" for line in block(found, "said"))


@given(TEXT, TEXT, TEXT, TEXT, TEXT)
def test_no_text_adds_a_line_anywhere(goal: str, target: str, agent: str, message: str, client: str):
    """Whatever the texts, a question has the lines of the same question with ordinary texts."""

    def made(*said: str) -> Any:
        goal, target, agent, message, client = said
        asker = structs.replace(question().requester, id=agent, user=agent)
        reasons = (ShownReason("approval/effect", message, facts=("/arguments/to",)),)
        asked = question(target=target, requester=asker, task=goal or "t", reasons=reasons, sort="resource")
        description = {**DESCRIPTION, "target": target, "goal": goal, "client": client, "declared_kind": client}
        return describe(state.ask(asked), description, BOB, 1_001.0)

    found, plain = (
        made(goal, target, agent, message, client),
        made(*("x" if one else "" for one in (goal, target, agent, message, client))),
    )
    rows = printed(found)

    kinds = {one.name: [line.kind for line in one.lines] for one in build_blocks(found, VIEW) if one.name != "warnings"}
    assert kinds == {one.name: [line.kind for line in one.lines] for one in build_blocks(plain, VIEW)}
    titles = {"", *(one.title for one in build_blocks(found, VIEW))}
    assert all(row in titles or row.startswith(("  ",)) for row in rows)
    assert sum(row in titles for row in rows) == 2 * len(build_blocks(found, VIEW))
    assert page(found).all.count("script") == page(plain).all.count("script") == 1


def messages(target: str, task: str, code: str) -> NoticeMessage:
    asked = question(target=target, task=task, reasons=(ShownReason(code, "It is so."),))
    return compose("hook", (item_of(state.ask(asked), "asked", "https://g/approvals"),))


@given(TEXT, TEXT, TEXT)
def test_no_name_adds_a_line_to_a_message(target: str, task: str, code: str):
    """Mail, Slack and webhooks. The warning about replaced letters is the only line more."""
    message, plain = messages(target, task or "t", code), messages("a/b", "t", "x/y")
    lines = [line for line in lines_of(message) if line.kind != "warning"]
    mail = mail_of(message, "gateway@corp.example", ("ann@corp.example",), 0.0)
    slack = payload_of(message)["blocks"][0]["text"]["text"]
    event = json.loads(event_of(message, 0.0))

    assert [line.kind for line in lines] == [line.kind for line in lines_of(plain)]
    told = len(list(lines_of(message)))
    assert len(mail.get_content().splitlines()) == told
    assert mail.keys() == mail_of(plain, "gateway@corp.example", ("ann@corp.example",), 0.0).keys()
    assert len(slack.splitlines()) == told + 1
    assert (slack.count("<"), slack.count(">")) == (1, 1)
    assert event["data"].keys() == json.loads(event_of(plain, 0.0))["data"].keys()
    assert event["data"]["tool"].isascii()


def test_a_pointer_looks_like_no_other_and_like_no_value():
    found = shown({"to": "a", 'to = "b"\n/cc': "c", "a/b": 1, "": {}})

    assert texts(found, "said") == [
        '/to = "a"',
        r'"/to = \"b\"\\n~1cc" = "c"'.replace(r"\\n", r"\n"),
        '"/a~1b" = 1',
        '"/" = {}',
    ]


def test_a_value_comes_with_its_role_and_its_source_before_the_others():
    reason = ShownReason("toxic-flow/ungrounded", "Nobody named it.", facts=("/arguments/to",))
    known = {
        "roles": {"/to": "destination", "/items/*/price": "amount"},
        "grounded": ["/cc"],
        "ungrounded": ["/to"],
        "sources": {"/to": [{"call": 3, "audience": "crm"}]},
    }
    value = {"body": "x", "cc": ["ann@corp.example"], "items": [{"price": 5}], "To": ["eve@evil.example"]}
    found = describe(
        state.ask(question(reasons=(reason,))), {**DESCRIPTION, "arguments": {"value": value}, **known}, BOB, 1_001.0
    )

    assert [(line.text, tuple(note.text for note in line.notes)) for line in block(found, "said")] == [
        ('/cc/0 = "ann@corp.example"', ("the goal, the contract or the operator's directory names it",)),
        ("/items/0/price = 5", ("role: amount",)),
        (
            '/To/0 = "eve@evil.example"',
            (
                "role: destination",
                "from a result of crm, untrusted, read (call 3)",
                "asked about: toxic-flow/ungrounded",
            ),
        ),
        ('/body = "x"', ()),
    ]


def test_a_value_in_question_stands_before_a_flood_of_others():
    known = {"roles": {"/to": "destination"}}
    found = shown({**{f"a{number}": number for number in range(500)}, "to": "eve@evil.example"}, **known)

    assert texts(found, "said")[0] == '/to = "eve@evil.example"'


def test_a_flood_of_odd_words_is_counted():
    found = shown({f"k{number}": f"p\u0430y{number}" for number in range(100)})

    assert len(texts(found, "warnings")) == 21
    assert texts(found, "warnings")[-1] == "80 more words may look like others"


def test_a_part_with_very_many_values_has_a_line_for_each_member():
    found = shown({"many": list(range(2_000)), "to": "a"})

    assert len(block(found, "said")) == 2


def test_all_of_a_long_value_is_shown_in_rows_of_one_width():
    (line,) = block(shown({"body": "word " * 2_000}), "said")

    assert line.text == f'/body = "{"word " * 2_000}"'
    assert {count_cells(row) for row in line.rows[1:-1]} == {WIDTH - WIDTH % len("word ")}


def test_answers_and_parts_beside_the_arguments_are_lines_with_their_names():
    found = shown({}, responses={"value": {"q": {"action": "accept"}}}, beside={"value": {"_meta": {"x": "\u2028"}}})

    assert [(line.name, line.text) for line in block(found, "said")[1:]] == [
        ("answer to the server", '/q/action = "accept"'),
        ("beside the arguments", '/_meta/x = "⟨U+2028 LINE SEPARATOR⟩"'),
    ]


@pytest.mark.parametrize("part", ["arguments", "responses", "beside"])
def test_a_part_that_is_not_shown_says_so(part: str):
    hidden = {"mode": "digest", "bytes": 70_000, "names": ["a\nb"]} if part == "arguments" else {"value": None}
    found = shown({}, **{part: hidden})

    assert any("NOT shown" in text for text in texts(found, "warnings"))
    assert not found["is_whole"]


def test_a_question_without_its_description_can_be_shown_and_not_approved():
    reasons = tuple(
        ShownReason(code, "x", facts=("/arguments/to",))
        for code in ("toxic-flow/ungrounded", "credential-chain/presentation", "approval/effect")
    )
    found = describe(state.ask(question(reasons=reasons)), None, BOB, 1_001.0)

    assert not found["may_approve"]
    assert any("NOT shown whole" in text for text in texts(found, "warnings"))
    assert page(found) is not None


def test_words_that_look_like_others_are_named_below_the_arguments():
    value = {"to": "boss@p\u0430ypal.example"}
    names = find_warnings(texts_of(value))
    found = describe(state.ask(question(warnings=names)), {**DESCRIPTION, "arguments": {"value": value}}, BOB, 1_001.0)

    assert names == ("letters",)
    assert "it may look like another word: p\u0430ypal (CYRILLIC SMALL LETTER A)" in texts(found, "warnings")
    message = compose("hook", (item_of(state.ask(question(warnings=names)), "asked", "https://g/approvals"),))
    assert [line.kind for line in lines_of(message)].count("warning") == 1
    assert "p\u0430ypal" not in json.dumps(payload_of(message), ensure_ascii=False)


def test_what_a_yes_covers_is_one_line_for_each_scope():
    recurs = Recurrence(endorsement().binding, 3_024_000, ("/to",), {"/to": ["a\nb"]})
    rule = ApproverRule(
        count=2, groups=("sre",), assurance="mfa", scopes=("once", "destination", "recurring"), max_age=60
    )
    found = describe(state.ask(question(rule=rule, recurrence=recurs)), DESCRIPTION, BOB, 1_001.0)

    assert [(line.kind, line.name) for line in block(found, "covers")] == [
        ("sentence", ""), ("sentence", ""), ("scope", "destination"), ("scope", "recurring"), ("argument", "")
    ]  # fmt: skip
    assert (
        texts(found, "covers")[0]
        == "needed: 2 different persons of sre, with a login by a second factor, logged in within the last 60 s"
    )
    assert texts(found, "covers")[-1] == r'/to = "a\nb"'


# --- suggestions -----------------------------------------------------------------------------------


@given(TEXT, TEXT, st.sampled_from(["tool", "resource", "prompt"]))
def test_a_suggestion_is_yaml_and_has_no_text_of_a_call(target: str, value: str, sort: str):
    codes = ("approval/grant", "approval/effect", "toxic-flow/ungrounded", "credential-chain/presentation")
    reasons = tuple(ShownReason(code, value, value, ("/arguments/to",), {"audiences": 5}) for code in codes)
    credential = {"pointer": "/to", "detector": "x", "fingerprint": "y", "origin": "result", "audience": "crm"}
    more = {"arguments": {"value": {"to": value}}, "audience": "mail", "credentials": [credential], "goal": value}
    found = describe(
        state.ask(question(target=target, sort=sort, reasons=reasons)), {**DESCRIPTION, **more}, BOB, 1_001.0
    )

    for one in found["instead"]:
        read = yaml.safe_load(one["yaml"])
        assert isinstance(read, dict)
        told = set(texts_of(read)) - {
            "approval",
            "effects",
            "destructive",
            "directory",
            "entries",
            "credential_flows",
        }
        assert told <= {"0", "from", "to", "crm", "mail", "limits", "audiences", *([target] if sort == "tool" else [])}
    assert {one["code"] for one in found["instead"]} >= {
        "approval/grant",
        "toxic-flow/ungrounded",
        "credential-chain/presentation",
    }
