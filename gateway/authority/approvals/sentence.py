"""A question in sentences, made from known facts alone. Pure.

Names and values of others stand in JSON quotes, unless they are plain. So no word of an agent or a server reads as the gateway's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, tzinfo
from itertools import islice
from typing import Any, Final, cast

from msgspec import Struct

from gateway.authority.approvals.places import Places, find_leaves, find_part
from gateway.base.json.walk import escape, split_pointer
from gateway.base.letters import ShownText, quote

_PLAIN: Final = re.compile(r"[\w.@/+-](?:[\w.@:/+-]{0,126}[\w/+-])?", re.ASCII)
_ARGUMENT: Final = re.compile(r"[A-Za-z_][\w-]{0,40}", re.ASCII)
_TOLD: Final = 4
"""Values that the sentence tells; the table has all of them."""
_HEAD: Final = 32
_TAIL: Final = 20
"""Characters at the beginning and the end of a long value that the sentence tells. The end of an address is its place."""
_TOLD_ROLES: Final = frozenset({"amount", "destination", "record", "command", "selector", "credential"})
_EFFECTS: Final = {
    "read": "which reads",
    "write": "which changes something",
    "destructive": "which changes or deletes for good",
    "exec": "which runs something",
    "mint": "which makes a credential",
}
_UNDONE: Final = {
    "destructive": "The change stays: its system has no way back that the gateway knows.",
    "exec": "What the command does stays, whatever it is.",
    "mint": "The new credential works until its own system ends it.",
    "write": "The change stays until another call changes it back.",
}
_LEAVES: Final = "What the call sends out of your systems cannot be called back."


class View(Struct, frozen=True):
    """The time of a reader, in seconds since the epoch, and the reader's time zone. Without a zone it is the machine's own."""

    now: float
    zone: tzinfo | None = UTC

    def write_time(self, at: float, *, has_seconds: bool = False) -> str:
        """Return a time in the reader's zone. Another day than the present one is told."""
        told, today = (datetime.fromtimestamp(one, UTC).astimezone(self.zone) for one in (at, self.now))
        day = "" if told.date() == today.date() else f"{told:%Y-%m-%d} "
        clock = f"{told:%H:%M:%S}" if has_seconds else f"{told:%H:%M}"
        return f"{day}{clock} {told:%Z}"

    def write_left(self, until: float) -> str:
        """Return the remaining time of a question, with the time of its end."""
        left = max(0, int(until - self.now))
        hours, rest = divmod(left, 3600)
        minutes, seconds = divmod(rest, 60)
        parts = [f"{hours} h"] * bool(hours) + [f"{minutes} min"] * bool(hours or minutes)
        told = " ".join([*parts, f"{seconds} s"] if not hours else parts)
        return f"{told} left, until {self.write_time(until, has_seconds=True)}"


def read_time(text: str) -> float:
    """Return a time in RFC 3339 in seconds since the epoch."""
    return datetime.fromisoformat(text).timestamp()


def write_name(text: str) -> ShownText:
    """Return a name as it is if it is plain, and in JSON quotes otherwise."""
    return ShownText(text) if _PLAIN.fullmatch(text) else quote(text)


def write_person(identifier: str, name: str | None, mail: str | None) -> str:
    """Return a person by the display name and the mail, as far as they are known, and else by the id."""
    shown = [quote(name)] if name else []
    if mail and mail != identifier:
        shown.append(ShownText(f"<{write_name(mail)}>"))
    return " ".join([*shown, f"({write_name(identifier)})"]) if shown else write_name(identifier)


def write_value(value: Any) -> str:
    """Return a value in JSON for a sentence: a long text without its middle."""
    if not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    left_out = len(value) - _HEAD - _TAIL
    if left_out <= 0:
        return quote(value)
    return f"{quote(value[:_HEAD])}…[{left_out} characters]…{quote(value[-_TAIL:])}"


# --- the sentences ---------------------------------------------------------------------------------


def say_call(found: Mapping[str, Any], view: View) -> Iterator[str]:
    """Yield the sentences about a call: agent and act, sources of values, and the latest readings of the task."""
    call = found["call"]
    yield f"The agent {say_agent(found)} wants to {_say_act(found)}."
    told: set[tuple[Any, ...]] = set()
    by_source: dict[str, list[str]] = {}
    for pointer, sources in find_part(call, "sources").items():
        if sources:
            told.update(map(_key, sources))
            text = ", and ".join(write_source(one, view) for one in sources[:_TOLD])
            by_source.setdefault(text, []).append(_label(pointer))
    for text, labels in by_source.items():
        yield f"The value{'s' if labels[1:] else ''} of {_list_up(labels)} came from {text}."
    latest = [one for one in call.get("latest") or () if _key(one) not in told]
    if latest:
        texts = "; ".join(write_source(one, view) for one in latest)
        yield f"Untrusted text may have told the agent to. The task last read {texts}."


def say_openly(found: Mapping[str, Any]) -> str:
    """Return who wants what, without a value of the call: for messages, lists, and pages without a login."""
    return f"The agent {say_agent(found)} wants to {_say_act({**found, 'call': {}, 'said_by_agent': {}})}."


def say_agent(found: Mapping[str, Any]) -> str:
    """Return the agent and its user in words."""
    user = found["user"]
    if user is None:
        return write_name(found["agent"])
    return f"{write_name(found['agent'])}, for {write_person(user, found.get('user_name'), found.get('user_mail'))},"


def _say_act(found: Mapping[str, Any]) -> str:
    call = found["call"]
    if found["sort"] == "task" and not call:
        return "open a task with rights of its own"
    if found["sort"] == "task":
        return f"open a task with these rights: {_list_rights(found)}"
    labels = find_part(call, "labels")
    effect = " and ".join(
        [_EFFECTS[name] for name in [labels.get("effect")] if name in _EFFECTS]
        + ["which sends data out"] * bool(labels.get("egress"))
    )
    verb = {"resource": "read the resource", "prompt": "get the prompt"}.get(found["sort"], "call")
    target = write_name(call.get("target") or found["target"])
    what = f"{verb} {target}" + (f", {effect}," if effect else "")
    values = _list_values(found)
    return f"{what} with {values}" if values else what.removesuffix(",")


def _list_rights(found: Mapping[str, Any]) -> str:
    declared = find_part(find_part(found["said_by_agent"], "arguments"), "value")
    effects = find_part(find_part(declared, "contract"), "effects")
    parts = (
        f"{write_name(name)} with {_list_up(write_name(str(one)) for one in cast('list[Any]', tools)[:_TOLD])}"
        for name, tools in islice(effects.items(), _TOLD)
        if isinstance(tools, list)
    )
    return "; ".join(parts) or "no effect that would ask later"


def _list_values(found: Mapping[str, Any]) -> str:
    """Return the telling values of a call: values with such a role, or else the first values."""
    arguments = find_part(found["said_by_agent"], "arguments")
    if not found["call"]:
        return ""
    if "value" not in arguments:
        return "arguments that are not shown whole"
    roles = Places[str](find_part(found["call"], "roles").items())
    # All of them, since an agent chooses their order: the record has arguments of 64 KiB at most.
    scalars = [one for one in find_leaves(arguments["value"]) if one[0]]
    named = [one for one in scalars if not _TOLD_ROLES.isdisjoint(roles.find(one[0]))]
    chosen = named or scalars
    parts = [f"{_label(pointer)} = {write_value(value)}" for pointer, value in chosen[:_TOLD]]
    left = len(chosen) - len(parts)
    return _list_up([*parts, f"{left} more values"] if left else parts)


def _label(pointer: str) -> str:
    """Return the name of an argument for a sentence."""
    names = [step for step in split_pointer(pointer) if not step.isdigit() and step != "*"]
    name = names[-1] if names else "value"
    return name if _ARGUMENT.fullmatch(name) else quote(name)


def write_source(source: Mapping[str, Any], view: View) -> str:
    """Return an untrusted result in words: its tool, the argument that names it, its time, and its call."""
    subject = source.get("subject")
    tool, place = source.get("tool") or "", source["audience"]
    named = f"{write_name(tool.removesuffix('/'))}" if tool else f"a result of {write_name(place)}"
    what = "" if subject is None else f" with {_label('/' + escape(subject['name']))} = {write_value(subject['text'])}"
    time = "" if source.get("at") is None else f" at {view.write_time(source['at'])}"
    earlier = " of an earlier task" if source.get("is_earlier") else ""
    agent = "" if source.get("agent") is None else f" of the agent {write_name(source['agent'])}"
    return f"{named}{what}, untrusted, read{time} (call {source['call']}{earlier}{agent})"


def list_undone(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield what cannot be undone after a yes."""
    labels = find_part(found["call"], "labels")
    if text := _UNDONE.get(labels.get("effect") or ""):
        yield text
    if labels.get("egress"):
        yield _LEAVES
    if found["sort"] == "task":
        yield "Calls that pass by this yes ask nobody, and each has its own effect."


def _key(source: Mapping[str, Any]) -> tuple[Any, ...]:
    return source["call"], source["audience"], bool(source.get("is_earlier")), source.get("agent")


def _list_up(parts: Iterable[str]) -> str:
    found = list(parts)
    return found[0] if len(found) == 1 else f"{', '.join(found[:-1])} and {found[-1]}" if found else ""
