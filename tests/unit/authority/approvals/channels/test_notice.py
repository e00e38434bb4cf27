"""Messages: their texts, and what no message has."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import structs

from gateway.authority.approvals import state
from gateway.authority.approvals.channels.notice import (
    NoticeMessage,
    QuestionNews,
    compose,
    event_of,
    item_of,
    lines_of,
    title_of,
)
from gateway.authority.approvals.channels.webhooks import payload_of
from gateway.authority.approvals.model import Requester, ShownReason
from tests.unit.authority.approvals.making import question

PAGE = "https://gateway.example/approvals"


def item(identifier: str = "q1", notice: Any = "asked", **changes: Any) -> QuestionNews:
    return item_of(state.ask(question(identifier, **changes)), notice, PAGE)


def rows(message: NoticeMessage) -> list[str]:
    return [row for line in lines_of(message) for row in line.rows]


def texts(*items: QuestionNews) -> str:
    message = compose("hook", items)
    return "\n".join(
        [title_of(message), *rows(message), event_of(message, 0.0).decode(), json.dumps(payload_of(message))]
    )


def test_a_message_has_no_word_of_the_caller():
    reason = ShownReason("approval/effect", "It deletes very-secret.", "Ask very-secret.", ("/arguments/very-secret",))
    found = texts(item(reasons=(reason,), target="files/file:///very-secret", sort="resource"))

    assert "very-secret" not in found
    assert "The agent agent, for ursula, wants to read the resource files/_resource_." in found


@pytest.mark.parametrize(
    "name",
    [
        "x/<!channel> <https://evil.example|open>",
        "x/\r\nBcc: eve@evil.example",
        "x/https://evil.example",
        "x/\u202eevil",
        "x/<script>",
        "x/*bold* `code` @here",
    ],
)
def test_a_name_is_neither_a_link_nor_a_mention_nor_a_header(name: str):
    asker = Requester("k", name, "i", name, user_name=name, user_mail=name)
    found = item(target=name, task=name, requester=asker)
    plain = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-")

    assert set(found.tool + found.task) <= plain
    assert set(found.agent + found.user) <= {*plain, "@"}
    assert set(found.brief) <= {*plain, *"@ ,<>()"}
    assert len(found.warnings) == 1


def test_a_message_carries_agent_user_and_reason():
    asker = Requester("k", "clerk", "i", "0f3a", user_mail="ann@corp.example")
    general = ShownReason("approval/effect", "It cannot be taken back.", is_general=True)
    said = ShownReason("custom/rule", "It deletes very-secret.")
    found = item(requester=asker, reasons=(general, said), target="bank/pay")
    data = json.loads(event_of(compose("hook", (found,)), 0.0))["data"]

    assert data["sentence"] == "The agent clerk, for <ann@corp.example> (0f3a), wants to call bank/pay."
    assert (data["agent"], data["user"], data["url"]) == ("clerk", "0f3a", f"{PAGE}/q1")
    assert data["why"] == ["It cannot be taken back."]
    assert rows(compose("mail", (found,)))[:3] == [
        f"{found.code}  {found.brief}",
        "It cannot be taken back.",
        "approval/effect, custom/rule, task t1, until 1970-01-01T00:31:40Z",
    ]


def test_the_id_of_a_message_depends_on_channel_and_news_alone():
    one, other = item("q1"), item("q2")

    assert compose("hook", (one, other)).id == compose("hook", (other, one)).id
    found = {compose("hook", (one,)).id, compose("other", (one,)).id, compose("hook", (other,)).id}
    found.add(compose("hook", (structs.replace(one, notice="closed"),)).id)
    assert len(found) == 4


def test_a_digest_lists_ten_questions_and_counts_the_others():
    message = compose("hook", tuple(item(f"q{number}") for number in range(97)))

    assert title_of(message) == "97 more questions of one agent wait for a person"
    assert sum(line.startswith(PAGE) for line in rows(message)) == 10
    assert "and 87 more: opagate approvals list" in rows(message)
    data = json.loads(event_of(message, 0.0))["data"]
    assert (data["count"], len(data["questions"])) == (97, 10)
    assert len(payload_of(message)["blocks"][0]["text"]["text"]) < 3_000


@pytest.mark.parametrize(
    ("ended", "told"),
    [("granted", "approved"), ("used", "approved"), ("denied", "denied"), ("expired", "nobody answered in time")],
)
def test_the_end_of_a_question_is_told(ended: Any, told: str):
    approval = structs.replace(state.ask(question()), state=ended)
    message = compose("hook", (item_of(approval, "closed", PAGE),))

    assert told in title_of(message)
    assert told in json.loads(event_of(message, 0.0))["data"]["end"]
    assert title_of(compose("hook", (*message.items, *message.items))) == "2 questions of one agent are closed"


def test_a_digest_has_the_questions_of_a_tree_together():
    asked = [item("q0", task="t1"), item("q1", task="t2"), item("q2", task="t3", tree="t1"), item("q3", task="t2")]
    message = compose("hook", tuple(asked))
    found = "\n".join(rows(message))

    assert [one.split("/")[-1] for one in rows(message) if one.startswith("http")] == ["q0", "q2", "q1", "q3"]
    assert "task t3 below t1, until" in found
    assert [one["tree"] for one in json.loads(event_of(message, 0.0))["data"]["questions"]] == [None, "t1", None, None]
