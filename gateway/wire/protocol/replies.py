"""Answers for refusals: a tool result for the model, or a JSON-RPC error. The MCP specification defines no form for a
denial; server/tools.mdx offers these two. The answer repeats the names of the tool or prompt and of the arguments in
question, and nothing else of the request."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import quote

import msgspec

from gateway.base.letters import spell_out
from gateway.model.decision import Reason, Refusal
from gateway.model.error_codes import DENIED, URL_ELICITATION_REQUIRED
from gateway.model.wire import Era, Headers, Json, Kind, Message, RequestId

DECISION_META: Final = "io.opagate/decision"
"""Key of the decision in `_meta` of a result and in `data` of an error."""

REASON_META: Final = "io.opagate/reason"
"""Key of the reason in `data` of an error that no policy decided."""

_ACCEPTED: Final = 202
_MAX_NAME: Final = 128
_MAX_ARGUMENTS: Final = 8

Style = Literal["result", "protocol"]


@dataclass(frozen=True, slots=True)
class RefusalForm:
    """The form of refusals. `style` is the setting `errors`: the form of the answer to a refused `tools/call`, not of refusals
    with an HTTP status. `decisions` is the address of the console's decisions; `None`: no page shows a decision."""

    style: Style = "result"
    decisions: str | None = None

    def without_link(self) -> RefusalForm:
        """Return the form for a caller that the gateway does not know."""
        return RefusalForm(self.style)


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer of the gateway's own."""

    status: int
    headers: Headers
    body: bytes


def render(refusal: Refusal, message: Message | None, *, decision_id: str | None, form: RefusalForm) -> Reply:
    """Answer a refused message. `message` is `None` for an unreadable message."""
    if refusal.status == _ACCEPTED:
        # A client whose notification was of no use any more has done nothing wrong.
        return Reply(_ACCEPTED, (), b"")
    headers: list[tuple[bytes, bytes]] = [(b"content-type", b"application/json")]
    if refusal.challenge is not None:
        headers.append((b"www-authenticate", _header_value(refusal.challenge)))
    status = refusal.status
    answerable = message is None or message.kind is Kind.REQUEST
    if not answerable and status < 400:
        status = 400  # "If the server cannot accept it, it MUST return an HTTP error status code"
    has_link = decision_id is not None and form.decisions is not None
    link = f"{form.decisions}/{quote(decision_id or '', safe='')}" if has_link else None
    shown = _ShownDecision(decision_id, link)
    is_elicitation = refusal.rpc_code == URL_ELICITATION_REQUIRED
    is_call = message is not None and message.method == "tools/call"
    if status == 200 and form.style == "result" and message is not None and is_call and not is_elicitation:
        payload = _tool_result(refusal, message, shown)
    else:
        payload = _error(refusal, message, shown, answerable=answerable)
    return Reply(status, tuple(headers), msgspec.json.encode(payload))


@dataclass(frozen=True, slots=True)
class _ShownDecision:
    """The id of a decision, and the link to its page, which asks for a login."""

    id: str | None
    link: str | None


def _tool_result(refusal: Refusal, message: Message, shown: _ShownDecision) -> Mapping[str, Json]:
    result: dict[str, Json] = {
        "content": [{"type": "text", "text": _text(refusal, message, shown)}],
        "isError": True,
    }
    if message.era is Era.STATELESS:
        result["resultType"] = "complete"
    result["_meta"] = {DECISION_META: _decision(refusal, shown)}
    return {"jsonrpc": "2.0", "id": message.id, "result": result}


def _error(refusal: Refusal, message: Message | None, shown: _ShownDecision, *, answerable: bool) -> Mapping[str, Json]:
    code = refusal.rpc_code
    if refusal.decision is not None and -32768 <= code <= -32000 and code != URL_ELICITATION_REQUIRED:
        code = DENIED
    data: dict[str, Json] = dict(refusal.data or {})
    if refusal.decision is not None or shown.id is not None:
        data[DECISION_META] = _decision(refusal, shown)
    else:
        data[REASON_META] = _reason(refusal.reason)
    error: dict[str, Json] = {"code": code, "message": _text(refusal, message, shown), "data": data}
    return {"jsonrpc": "2.0", **(_id(refusal, message) if answerable else {}), "error": error}


def _id(refusal: Refusal, message: Message | None) -> Mapping[str, RequestId | None]:
    """Return the id, `null` for an unread message, as in JSON-RPC. Some clients recognise an error only by this member."""
    return {"id": refusal.id if message is None else message.id}


def _decision(refusal: Refusal, shown: _ShownDecision) -> Mapping[str, Json]:
    effect = "deny" if refusal.decision is None else refusal.decision.effect
    return {
        "id": shown.id and spell_out(shown.id),
        "effect": effect,
        "reasons": [_reason(reason) for reason in _reasons(refusal)],
        **({} if shown.link is None else {"link": shown.link}),
    }


def _reasons(refusal: Refusal) -> tuple[Reason, ...]:
    decided = refusal.decision.reasons if refusal.decision is not None else ()
    return decided or (refusal.reason,)


def _reason(reason: Reason) -> Mapping[str, Json]:
    shown: dict[str, Json] = {"code": spell_out(reason.code), "message": spell_out(reason.message)}
    if arguments := _arguments(reason):
        shown["arguments"] = list[Json](arguments)
    if reason.remedy:
        shown["remedy"] = spell_out(reason.remedy)
    if reason.controls:
        shown["controls"] = [spell_out(control) for control in reason.controls]
    return shown


def _arguments(reason: Reason) -> list[str]:
    """Return the arguments of a reason as JSON pointers. The caller does not learn its other facts."""
    places = [fact.removeprefix("/arguments") for fact in reason.facts if fact.startswith("/arguments/")]
    return [spell_out(_cut(place)) for place in places[:_MAX_ARGUMENTS]]


def _text(refusal: Refusal, message: Message | None, shown: _ShownDecision) -> str:
    """Return the refused action, the reason, the remedy, and the id and the link for questions."""
    lines = [_what(refusal, message)]
    for reason in _reasons(refusal):
        lines.append(f"Why: {spell_out(reason.message)} [{spell_out(reason.code)}]")
        if arguments := _arguments(reason):
            lines.append(f"Where in the arguments: {', '.join(arguments)}")
        if reason.remedy:
            lines.append(f"What would help: {spell_out(reason.remedy)}")
    if shown.id is not None:
        lines.append(f"Decision: {spell_out(shown.id)}")
    if shown.link is not None:
        lines.append(f"For people with a login: {shown.link}")
    return "\n".join(lines)


def _what(refusal: Refusal, message: Message | None) -> str:
    if message is None or message.method is None:
        return "The gateway refused this message."
    what = message.method
    if what in {"tools/call", "prompts/get"} and message.name is not None:
        what += f' "{spell_out(_cut(message.name))}"'
    if refusal.decision is not None and refusal.decision.effect == "ask":
        return f"The gateway did not forward {what}: a person has to approve it first."
    return f"The gateway refused {what}."


def _cut(name: str) -> str:
    return name if len(name) <= _MAX_NAME else name[:_MAX_NAME] + "…"


def _header_value(text: str) -> bytes:
    """Return a header value of printable ASCII: no character ends the field."""
    return re.sub(r"[^\x20-\x7e]", "", text).encode("ascii")
