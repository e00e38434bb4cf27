"""Messages to people about questions. Pure.

A message has a link, a code, a sentence with agent, user and tool, the reasons and the end of time. It has no arguments, since a
channel is no place for arguments. It has no words of the agent, since such words could mislead the reader.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Struct

from gateway.authority.approvals.digest import code_of
from gateway.authority.approvals.lines import Line, LineKind
from gateway.authority.approvals.model import WARNINGS
from gateway.authority.approvals.rendering import describe_openly
from gateway.authority.approvals.sentence import say_openly
from gateway.base.letters import spell_out

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.authority.approvals.model import Approval, Notice

Kind: TypeAlias = Literal["asked", "closed", "digest", "test"]

_LISTED: Final = 10
"""Questions that a digest lists; it counts the others."""
_NAME_LENGTH: Final = 128
_REASONS: Final = 16
_UNSAFE: Final = re.compile(r"[^\w./\-]", re.ASCII)
"""Characters that could make a name a link, a mention or a format."""
_UNSAFE_PERSON: Final = re.compile(r"[^\w./@+\-]", re.ASCII)
"""The same for a name of an identity provider, which may be an address of mail."""
_REPLACED: Final = "characters of its names are left out here, or have _ in their place"
_ENDS: Final = {
    "denied": "denied",
    "expired": "expired: nobody answered in time",
    "withdrawn": "withdrawn: its task ended, or its caller declined to be asked",
    "unreachable": "ended: no channel could deliver it",
}


class QuestionNews(Struct, frozen=True):
    """News of one question. `end` is the text of its end, and empty for an open question."""

    id: str
    notice: Notice
    code: str
    tool: str
    task: str
    agent: str
    user: str
    brief: str
    """Who wants what, in a sentence."""
    why: tuple[str, ...]
    reasons: tuple[str, ...]
    expires: str
    url: str
    end: str = ""
    warnings: tuple[str, ...] = ()
    """What people have to look at closely, in sentences of the gateway."""
    tree: str = ""
    """The root of the task's tree; empty outside of a tree."""


class NoticeMessage(Struct, frozen=True):
    """A message. Its id is the same at each attempt to deliver it, also after a restart."""

    id: str
    kind: Kind
    items: tuple[QuestionNews, ...] = ()


def item_of(approval: Approval, notice: Notice, page_url: str) -> QuestionNews:
    """Return the news of a question. `page_url` is the address of its page, without its id."""
    question, asker = approval.question, approval.question.requester
    told = describe_openly(approval)
    tool: str = told["target"]
    names, people = (tool, question.task, question.tree), (asker.id, asker.user or "", asker.user_mail or "")
    is_plain = not (_UNSAFE.search("".join(names)) or _UNSAFE_PERSON.search("".join(people)))
    is_plain = is_plain and max(map(len, (*names, *people))) <= _NAME_LENGTH
    agent, user, mail = (_safe(name, _UNSAFE_PERSON) for name in people)
    told |= {"target": _safe(tool), "agent": agent, "user": user or None, "user_name": None, "user_mail": mail}
    return QuestionNews(
        id=approval.id,
        notice=notice,
        code=code_of(question),
        tool=_safe(tool),
        task=_safe(question.task),
        tree=_safe(question.tree),
        agent=agent,
        user=user,
        brief=say_openly(told),
        why=tuple(spell_out(text) for text in told["reasons"][:_REASONS]),
        reasons=tuple(_safe(code) for code in question.codes[:_REASONS]),
        expires=_time(question.expires),
        url=f"{page_url}/{approval.id}",
        end="" if notice == "asked" else _ENDS.get(approval.state, "approved"),
        warnings=(*(WARNINGS[name] for name in question.warnings), *(() if is_plain else (_REPLACED,))),
    )


def compose(channel: str, items: tuple[QuestionNews, ...]) -> NoticeMessage:
    """Return the message of a channel with at least one piece of news, all of the same sort."""
    named = "\0".join([channel, *sorted(f"{item.notice} {item.id}" for item in items)])
    identifier = "msg_" + hashlib.sha256(named.encode()).hexdigest()[:32]
    return NoticeMessage(identifier, items[0].notice if len(items) == 1 else "digest", items)


def title_of(message: NoticeMessage) -> str:
    """Return the message as a line."""
    match message.kind:
        case "asked":
            return f"Approval {message.items[0].code}: {message.items[0].agent} asks for {message.items[0].tool}"
        case "closed":
            return f"Approval {message.items[0].code}: {message.items[0].end}"
        case "digest" if message.items[0].notice == "closed":
            return f"{len(message.items)} questions of one agent are closed"
        case "digest":
            return f"{len(message.items)} more questions of one agent wait for a person"
        case "test":
            return "opagate: this is a test of a channel of approvals"


def lines_of(message: NoticeMessage) -> Iterator[Line]:
    """Yield the text of the message as typed lines, each of one row. The address of a question is a line of its own."""
    say = partial(_one_row, "sentence")
    if message.kind == "test":
        yield say("Nothing is to be done. Questions to approvers will arrive here.")
    for item in _group(message.items)[:_LISTED]:
        if item.notice == "closed":
            yield say(f"{item.code}  {item.tool}  {item.end}")
            continue
        yield say(f"{item.code}  {item.brief}")
        yield from (say(text) for text in item.why)
        yield say(f"{', '.join(item.reasons)}, {_name_task(item)}, until {item.expires}")
        yield from (_one_row("warning", f"look closely: {warning}") for warning in item.warnings)
        yield _one_row("link", item.url)
    if (more := len(message.items) - _LISTED) > 0:
        yield say(f"and {more} more: opagate approvals list")
    if any(item.notice == "asked" for item in message.items):
        yield say(
            "Answer there, with `opagate approvals show CODE-OR-ID`, or over /api/approvals. Compare the code of four letters."
        )


def _group(items: tuple[QuestionNews, ...]) -> list[QuestionNews]:
    """Return news by the task or tree, in the order in which each has its first question."""
    lines = list(dict.fromkeys(item.tree or item.task for item in items))
    return sorted(items, key=lambda item: lines.index(item.tree or item.task))


def _name_task(item: QuestionNews) -> str:
    is_child = item.tree not in {"", item.task}
    return f"task {item.task or '-'}{f' below {item.tree}' if is_child else ''}"


def _one_row(kind: LineKind, text: str) -> Line:
    """Return a line that its reader's program breaks: addresses and sentences of messages stay whole."""
    return Line(kind, (spell_out(text),))


def event_of(message: NoticeMessage, at: float) -> bytes:
    """Return the message as the payload of a webhook (Standard Webhooks 1.0, "Payload structure"). `at` is the time in seconds."""
    shown = [_fields(item) for item in _group(message.items)[:_LISTED]]
    data: dict[str, Any] = {}
    if message.kind in {"asked", "closed"}:
        data = shown[0]
    elif message.kind == "digest":
        data = {"count": len(message.items), "questions": shown}
    return msgspec.json.encode({"type": f"approval.{message.kind}", "timestamp": _time(at), "data": data})


def _fields(item: QuestionNews) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "id": item.id,
        "code": item.code,
        "tool": item.tool,
        "task": item.task,
        "tree": item.tree or None,
        "agent": item.agent,
        "user": item.user or None,
        "sentence": item.brief,
        "why": item.why,
        "reasons": item.reasons,
        "expires": item.expires,
        "url": item.url,
        "warnings": item.warnings,
    }
    return fields if item.notice == "asked" else {**fields, "end": item.end}


def _safe(text: str, unsafe: re.Pattern[str] = _UNSAFE) -> str:
    """Return a name without characters of meaning to a channel."""
    return unsafe.sub("_", text[:_NAME_LENGTH])


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
