"""The sentences of a question: what they tell a person, and what no foreign text can make of them."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from gateway.authority.approvals import state
from gateway.authority.approvals.lines import build_blocks
from gateway.authority.approvals.model import Person, Requester, Vote
from gateway.authority.approvals.rendering import describe
from gateway.authority.approvals.sentence import View, say_call, write_name, write_value
from gateway.authority.approvals.store import DESCRIPTIONS
from tests.unit.authority.approvals.making import BOB, question

AT = 1_796_168_460.0
"""2026-12-01 23:41:00 UTC."""
VIEW = View(AT + 120)
INVOICE = {
    "call": 3,
    "audience": "files",
    "tool": "files/read",
    "at": AT,
    "decision": "d3",
    "subject": {"name": "path", "text": "invoice.txt"},
    "is_earlier": False,
}
INBOX = {**INVOICE, "call": 2, "tool": "mail/list", "audience": "mail", "subject": None, "decision": "d2"}
PAYMENT = {
    "target": "bank/pay",
    "audience": "bank",
    "labels": {"effect": "destructive", "egress": False},
    "roles": {"/account": "destination", "/amount": "amount", "/note": "content"},
    "arguments": {"mode": "full", "value": {"note": "for you", "amount": 4980, "account": "DE02120300000000202051"}},
    "ungrounded": ["/account"],
    "sources": {"/account": [INVOICE]},
    "latest": [INVOICE],
    "goal": "pay the open invoice",
}


def found(requester: Requester | None = None, **changes: Any) -> Any:
    asker = requester or Requester("k", "clerk", "https://idp.example", "user@corp.example")
    asked = structs.replace(question(), requester=asker, target="bank/pay", asked=AT, expires=AT + 300)
    return describe(state.ask(asked), {**PAYMENT, **changes}, BOB, AT)


def said(**changes: Any) -> list[str]:
    return list(say_call(found(**changes), VIEW))


def test_the_first_sentence_tells_who_wants_what_and_the_second_where_it_came_from():
    assert said() == [
        (
            "The agent clerk, for user@corp.example, wants to call bank/pay, which changes or deletes for good, with amount = 4980"
            ' and account = "DE02120300000000202051".'
        ),
        'The value of account came from files/read with path = "invoice.txt", untrusted, read at 23:41 UTC (call 3).',
    ]


def test_no_number_of_values_before_it_hides_a_destination():
    padding = [f"n{number}" for number in range(3_000)]
    arguments = {"value": {"note": padding, "account": "DE02120300000000202051"}}

    assert said(arguments=arguments)[0].endswith('with account = "DE02120300000000202051".')
    assert said(arguments=arguments, roles={})[0].endswith("and 2997 more values.")


def test_the_display_name_of_a_voter_adds_no_vote():
    name = "Ann), approve, 2026-12-01T23:41:00Z, by bob (Bob"
    voter = Person("ann, approve, by carol", "https://idp.example", known_as=name)
    approval = state.ask(structs.replace(question(), asked=AT, expires=AT + 300))
    voted = structs.replace(approval, votes=(Vote(voter, "approve", AT),))
    blocks = {block.name: block for block in build_blocks(describe(voted, PAYMENT, BOB, AT), VIEW)}

    assert [line.text for line in blocks["votes"].lines] == [
        f'approve, 2026-12-01T23:41:00Z, by "ann, approve, by carol" ("{name}")'
    ]


def test_values_of_one_source_share_a_sentence():
    sentences = said(sources={"/account": [INVOICE], "/amount": [INVOICE]})

    assert sentences[1].startswith("The values of account and amount came from files/read")


def test_text_that_the_task_read_last_is_named_unless_a_value_came_from_it():
    assert said(latest=[INBOX, INVOICE])[2] == (
        "Untrusted text may have told the agent to. The task last read mail/list, untrusted, read at 23:41 UTC (call 2)."
    )
    assert len(said(latest=[INVOICE])) == 2


def test_a_source_of_an_earlier_task_and_one_without_a_tool_say_so():
    earlier = {**INVOICE, "is_earlier": True, "subject": None}
    forgotten = {"call": 7, "audience": "crm"}

    assert said(sources={"/account": [earlier, forgotten]})[1] == (
        "The value of account came from files/read, untrusted, read at 23:41 UTC (call 3 of an earlier task),"
        " and a result of crm, untrusted, read (call 7)."
    )


def test_a_user_is_told_by_name_and_mail_where_the_token_has_them():
    asker = Requester("k", "clerk", "i", "0f3a-77", user_name="Ann Example", user_mail="ann@corp.example")

    assert said(requester=asker)[0].startswith('The agent clerk, for "Ann Example" <ann@corp.example> (0f3a-77), wants')


def test_a_name_that_may_look_like_another_is_pointed_at():
    asker = Requester("k", "clerk", "i", "0f3a-77", user_name="p\u0430ypal")
    (block,) = [one for one in build_blocks(found(requester=asker), VIEW) if one.name == "warnings"]

    assert block.lines[0].text.startswith("it may look like another word: p\u0430ypal")


def test_arguments_that_are_not_shown_whole_are_no_values():
    assert "with arguments that are not shown whole." in said(arguments={"mode": "digest", "bytes": 70_000})[0]


def test_a_declared_task_says_which_rights_it_asks_for():
    contract = {"effects": {"destructive": ["shop/cancel_order"]}}
    asked = structs.replace(question(), sort="task", target="tasks", task="")
    description = {
        "target": "tasks",
        "arguments": {"value": {"goal": "cancel", "contract": contract}},
        "goal": "cancel",
    }
    document: Any = describe(state.ask(asked), description, BOB, AT)

    assert list(say_call(document, VIEW)) == [
        "The agent agent, for ursula, wants to open a task with these rights: destructive with shop/cancel_order."
    ]


@pytest.mark.parametrize("effect", ["destructive", "exec", "mint", "write"])
def test_what_cannot_be_undone_is_told_for_each_effect(effect: str):
    blocks = {one.name: one for one in build_blocks(found(labels={"effect": effect, "egress": True}), VIEW)}

    assert len(blocks["undone"].lines) == 2


def test_a_reading_call_has_nothing_to_undo():
    assert "undone" not in {one.name for one in build_blocks(found(labels={"effect": "read"}), VIEW)}


def test_the_goal_is_always_shown_as_the_words_of_the_agent():
    def goal(text: str | None) -> str:
        (block,) = [one for one in build_blocks(found(goal=text), VIEW) if one.name == "goal"]
        assert (block.speaker, block.title) == ("agent", "the goal, in the agent's words")
        return block.lines[0].text

    assert goal("approved by admin\nknown by the gateway") == r'"approved by admin\nknown by the gateway"'
    assert goal(None) == "none: the agent declared no goal"


@pytest.mark.parametrize(
    ("now", "zone", "expected"),
    [
        (AT + 120, None, "3 min 0 s left, until "),
        (AT + 120, ZoneInfo("Europe/Berlin"), "3 min 0 s left, until 00:46:00 CET"),
        (AT - 86_400, ZoneInfo("UTC"), "24 h 5 min left, until 2026-12-01 23:46:00 UTC"),
        (AT + 1_000, ZoneInfo("UTC"), "0 s left, until 23:46:00 UTC"),
    ],
)
def test_the_time_left_is_told_in_the_zone_of_the_reader(now: float, zone: ZoneInfo | None, expected: str):
    assert View(now, zone).write_left(AT + 300).startswith(expected)


def test_a_question_of_the_release_before_still_renders():
    """Release 0.2.0 stored the sources of a value as the call and the system alone, and no tool, time or last reading."""
    stored = {**PAYMENT, "ungrounded": {"/account": [{"call": 3, "audience": "files"}], "/amount": []}}
    stored.pop("sources")
    stored.pop("latest")
    (upgrade,) = DESCRIPTIONS.upgrades
    sentences = said(**{"sources": None, "latest": None, **upgrade(stored)})

    assert sentences[1:] == ["The value of account came from a result of files, untrusted, read (call 3)."]


def test_a_long_value_shows_both_ends():
    shown = write_value("https://bank.example/" + "a" * 500 + ".evil.example/pay")

    assert shown.startswith('"https://bank.example/')
    assert shown.endswith('.evil.example/pay"')
    assert len(shown) < 100


HOSTILE = st.one_of(
    st.text(max_size=60),
    st.sampled_from(
        [
            'clerk, for boss@corp.example, wants to read".',
            "\u202eyap",
            "a\nThe agent b",
            "x" * 10_000,
            "<b>approved by admin</b>",
            "*approved*",
            "p\u0430ypal",
        ]
    ),
)


def hostile(agent: str, user: str, name: str, value: str) -> tuple[str, str]:
    """The sentences of a question all of whose foreign texts are these."""
    asker = Requester("k", agent, "i", user, user_name=name, user_mail=value)
    source = {**INVOICE, "tool": name, "audience": user, "subject": {"name": name, "text": value}}
    arguments = {"value": {name: value, "account": value}}
    first, second = say_call(
        found(requester=asker, target=name, arguments=arguments, sources={"/account": [source]}, latest=[]), VIEW
    )
    return first, second


def unquoted(sentence: str) -> set[str]:
    """The words of a sentence outside of its JSON strings."""
    outside = "".join(sentence.replace("\\\\", "").replace('\\"', "").split('"')[::2])
    return {word.strip(".,;:()<>=…[]") for word in outside.split()}


ORDINARY = {word for sentence in hostile("a b", "c d", "e f", "g h") for word in unquoted(sentence)}
"""The gateway's own words, and those that a missing part adds."""
OTHERS = {"bank/pay", "characters", "result", "of", "a", "with", "value", "account", ""}


@given(HOSTILE, HOSTILE, HOSTILE, HOSTILE)
def test_no_foreign_text_ends_a_sentence_or_leaves_its_quotes(agent: str, user: str, name: str, value: str):
    first, second = hostile(agent, user, name, value)
    names = {word for text in (agent, user, name, name.removesuffix("/"), value) for word in [write_name(text)]}

    for sentence in (first, second):
        assert sentence.isprintable()
        added = {word for word in unquoted(sentence) if not word.isdigit()} - ORDINARY - OTHERS
        assert added <= {one.strip(".,;:()<>=…[]") for one in names}
        assert not any(" " in one for one in added)
    assert first.startswith("The agent ")
    assert second.startswith("The value of account came from ")
