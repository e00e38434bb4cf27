"""Visibility for a caller: tools, resources and prompts that policy shows, also in subscriptions, its own protocol tasks, and
pinned instructions of a server.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple, cast

import structlog
from msgspec import Struct, structs

from gateway.authority.signals.register import SignalRegister
from gateway.base.concurrency.loop_turns import LoopTurns
from gateway.calls.binding.ownership import Ownership
from gateway.calls.binding.shared_values import SharedValues
from gateway.calls.pipeline.context import RequestContext
from gateway.history import TaskLedger, TaskRegistry
from gateway.inspection.label_cases import label_variants
from gateway.model import reasons
from gateway.model.call import Context
from gateway.model.caller import AuthMethod, Principal
from gateway.model.decision import Refusal
from gateway.model.errors import HistoryError
from gateway.model.facts import SessionFacts
from gateway.model.target import Pin, Target
from gateway.model.wire import Message, UpstreamRequest
from gateway.policy import document
from gateway.policy.observing import ObserveMode
from gateway.policy.policy import Policy
from gateway.upstreams.catalogue.catalogue import Catalogue, TargetType
from gateway.upstreams.catalogue.definitions import Definitions
from gateway.upstreams.catalogue.pins import MAX_LISTED
from gateway.wire.protocol.classify import cursor_of
from gateway.wire.protocol.listing import Listing
from gateway.wire.protocol.methods import TABLE, names_where

# --- callers without tools -------------------------------------------------------------------------------


log = structlog.get_logger("gateway.visibility")

TOLD_OF_GRANTS: Final = frozenset({AuthMethod.DEVELOPMENT, AuthMethod.ANONYMOUS})
"""Callers that are told about grants, since they are on the operator's machine. Others learn nothing of hidden tools."""
_MOST_TOLD: Final = 4_096


def keep_usable(tools: Iterable[Target]) -> tuple[Target, ...]:
    """Return the tools whose definitions may be used: the catalogue itself hides all others."""
    return tuple(tool for tool in tools if tool.pin in {Pin.MATCH, Pin.UNPINNED})


class HiddenTools:
    """A log of the callers that see no tool of an upstream, with one line for each caller and upstream."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, str], None] = {}

    def note(self, principal: Principal, upstream: str, tools: int) -> None:
        """Log that policy hides all `tools` of an upstream from a caller, the first time only."""
        key = principal.key, upstream
        if key in self._told:
            return
        if len(self._told) >= _MOST_TOLD:
            del self._told[next(iter(self._told))]
        self._told[key] = None
        log.warning(
            "list.empty",
            agent=principal.id,
            issuer=principal.issuer,
            upstream=upstream,
            problem=f"policy shows this caller none of {tools} tools",
            remedy="add a grant, or see `opagate policy can`",
        )


def explain_hidden_tools(principal: Principal, upstream: str, tools: Sequence[Target]) -> str:
    """Return instructions for a caller from which policy hides all `tools` of an upstream."""
    return (
        f"opagate shows {principal.id!r} none of the {len(tools)} tools of {upstream!r}: no grant covers this caller."
        f" The operator can add one to the grants file. `opagate policy can {principal.id} {tools[0].id}` says what is missing."
    )


# --- lists of a moment ago -------------------------------------------------------------------------------


LIFETIME: Final = 10.0
"""Seconds for which a list stays: rules may ask for the time."""
MOST: Final = 64
"""Lists that are kept, each with its names: some 40 KB for 500 tools."""


class ShownQuestion(NamedTuple):
    """Everything that decides what a list shows. `policy` is `None` where answers may change with an unchanged policy. `is_pinned`:
    the list is of the lock file."""

    policy: object | None
    definitions: Definitions
    names: tuple[str, ...]
    principal: Principal
    context: Context
    facts: SessionFacts
    is_pinned: bool


def without_time(context: Context) -> Context:
    """Return circumstances without the time and the trace, which differ in each request."""
    return structs.replace(context, time=0.0, trace_id="")


class ShownLists:
    """The latest lists by caller, upstream and kind."""

    def __init__(self) -> None:
        self._shown: OrderedDict[tuple[str, ...], tuple[ShownQuestion, frozenset[str], float]] = OrderedDict()

    def find(self, upstream: str, question: ShownQuestion, now: float) -> frozenset[str] | None:
        """Return the names that were shown to the same question; `None` for another question, or after `LIFETIME`."""
        kept = self._shown.get(_place(upstream, question))
        if kept is None or question.policy is None or now - kept[2] >= LIFETIME or kept[0] != question:
            return None
        return kept[1]

    def keep(self, upstream: str, question: ShownQuestion, shown: frozenset[str], now: float) -> None:
        """Keep an answer, in the place of the caller's earlier answer for the upstream. A failure shows nothing, and is not kept."""
        if not shown:
            return
        place = _place(upstream, question)
        self._shown[place] = question, shown, now
        self._shown.move_to_end(place)
        while len(self._shown) > MOST:
            self._shown.popitem(last=False)


def _place(upstream: str, question: ShownQuestion) -> tuple[str, ...]:
    return question.principal.key, upstream, question.definitions.terms.subject


# --- the stage -------------------------------------------------------------------------------------------


_ASKED_AT_ONCE: Final = 64
"""Targets that policy is asked about in one question: some six milliseconds, in which the event loop stands still."""

SUBSCRIBING: Final = names_where(lambda row: row.subscribes)

NOT_VISIBLE: Final = reasons.REQUEST_NOT_VISIBLE.refusal()


class Visibility(Struct, frozen=True):
    """The stage that shows callers only permitted tools, resources and prompts, their own tasks, and pinned instructions.

    Policy decides on no subscription itself: its decision on lists covers subscriptions. A subscription reveals that a resource
    exists, and when it changes.
    """

    catalogue: Catalogue
    tasks: TaskRegistry
    ledger: TaskLedger
    policy: Policy
    ownership: Ownership
    signals: SignalRegister
    hidden_tools: HiddenTools
    turns: LoopTurns
    shown: ShownLists
    observing: ObserveMode
    shared_values: SharedValues | None = None

    async def visible_names(
        self, context: RequestContext, request: UpstreamRequest, method: str, page: Listing, *, is_pinned: bool = False
    ) -> frozenset[str]:
        """Return the names in a list that policy lets this caller see. A list of tools or prompts is also news for the
        catalogue, unless the gateway made it of pins."""
        upstream, principal = context.exchange.upstream, request.principal
        kind = TABLE[method].target
        if kind is None:
            # The items are tasks of the protocol.
            if self.shared_values is not None:
                await self.shared_values.fetch(upstream, [item.name for item in page.items], principal)
            return frozenset(i.name for i in page.items if self.ownership.renew_if_owner(upstream, i.name, principal))
        if kind != "resource" and not is_pinned:
            items = [item.raw for item in page.items]
            if not await self.catalogue.observe(upstream, kind, items, complete=_is_complete(request, page)):
                log.warning(
                    "list.hidden", id=context.id, upstream=context.upstream, problem=f"it has {len(items)} {kind}s"
                )
                return frozenset()
        large = {item.name for item in page.items if len(item.raw) > MAX_LISTED}
        if large:
            problem = f"{len(large)} {kind}s have definitions of more than {MAX_LISTED >> 10} KiB"
            log.warning("list.hidden", id=context.id, upstream=context.upstream, problem=problem)
        # The resource without a name is the upstream itself.
        names = tuple([item.name for item in page.items if item.name and item.name not in large])
        return await self.shown_names(context, request, (upstream, kind), names, is_pinned=is_pinned)

    async def shown_names(
        self,
        context: RequestContext,
        request: UpstreamRequest,
        place: tuple[str, TargetType],
        names: tuple[str, ...],
        *,
        is_pinned: bool = False,
    ) -> frozenset[str]:
        """Return the visible names among the names of one upstream. `place` is the upstream and the type of the targets."""
        (upstream, kind), principal = place, request.principal
        asked = self._describe(context, request, upstream)
        if asked is None:
            return frozenset()
        circumstances, facts = asked
        definitions = self.catalogue.definitions[upstream][kind]
        question = ShownQuestion(
            self.policy.in_force, definitions, names, principal, without_time(circumstances), facts, is_pinned
        )
        shown = self.shown.find(upstream, question, context.began)
        if shown is None:
            find = definitions.pinned_target if is_pinned else partial(self.catalogue.target, upstream, kind)
            targets = tuple([find(name) for name in names])
            ids = await self._ask(principal, targets, circumstances, facts)
            if kind == "tool" and not ids and (tools := keep_usable(targets)):
                self.hidden_tools.note(principal, upstream, len(tools))
            shown = frozenset(name for name, target in zip(names, targets, strict=True) if target.id in ids)
            self.shown.keep(upstream, question, shown, context.began)
        return shown

    async def has_pinned_instructions(self, context: RequestContext, said: bytes) -> bool:
        """Return whether a caller may see these instructions (a JSON value): only pinned instructions."""
        pin = await self.catalogue.instructions(context.exchange.upstream, said)
        if pin is not Pin.MATCH:
            log.warning("instructions.withheld", id=context.id, upstream=context.upstream, state=pin.value)
        return pin is Pin.MATCH

    async def notice_for_caller(self, context: RequestContext, request: UpstreamRequest) -> str | None:
        """Return the words of a server's greeting about tools that policy hides from the caller, if it hides any."""
        upstream, principal = context.exchange.upstream, request.principal
        if principal.method not in TOLD_OF_GRANTS:
            return None
        await self.catalogue.ensure(upstream)
        tools = keep_usable(self.catalogue.tools(upstream))
        hidden = bool(tools) and not await self.visible_ids(context, request, tools)
        return explain_hidden_tools(principal, upstream, tools) if hidden else None

    async def refuse_subscription(self, context: RequestContext, request: UpstreamRequest) -> Refusal | None:
        """Refuse a subscription to a resource outside the caller's lists; `None` for any other subscription or request."""
        message = request.message
        if message is None or message.method not in SUBSCRIBING:
            return None
        upstream, found = context.exchange.upstream, frozenset(named_resources(message))
        targets = tuple(self.catalogue.target(upstream, "resource", uri) for uri in found)
        if not targets:
            return None
        if "" in found:
            return NOT_VISIBLE
        visible = await self.visible_ids(context, request, targets)
        return None if visible.issuperset(target.id for target in targets) else NOT_VISIBLE

    async def visible_ids(
        self, context: RequestContext, request: UpstreamRequest, targets: tuple[Target, ...]
    ) -> frozenset[str]:
        """Return the visible ids among the targets of one upstream. For a tool with cases, one permitted case is enough."""
        asked = self._describe(context, request, targets[0].upstream) if targets else None
        return frozenset() if asked is None else await self._ask(request.principal, targets, *asked)

    async def shows_upstream(self, context: RequestContext, request: UpstreamRequest, upstream: str) -> bool:
        """Return whether policy shows the caller anything of an upstream: the upstream itself, or a listed tool or prompt."""
        itself = (self.catalogue.target(upstream, "resource", ""),)
        if await self.visible_ids(context, request, itself):
            return True
        await self.catalogue.ensure(upstream)
        prompts = self.catalogue.definitions[upstream]["prompt"]
        listed = (*self.catalogue.tools(upstream), *(prompts.target(name) for name in sorted(prompts.seen)))
        return bool(listed) and bool(await self.visible_ids(context, request, listed))

    def _describe(
        self, context: RequestContext, request: UpstreamRequest, upstream: str
    ) -> tuple[Context, SessionFacts] | None:
        """Return the circumstances of a question about lists of an upstream, and the facts of the caller's task; `None` if history
        cannot be asked. At the one endpoint, no upstream is named in the request."""
        principal = request.principal
        try:
            task = self.tasks.open_implicit(principal, context.arrived)
            facts = self.ledger.facts(task, context.arrived)
        except HistoryError as error:
            log.warning("list.hidden", id=context.id, upstream=context.upstream, code=error.code, problem=error.message)
            return None
        enforced = not self.observing.is_on(upstream)
        return context.describe(request.message, task, self.signals.facts(principal), enforced=enforced), facts

    async def _ask(
        self, principal: Principal, targets: tuple[Target, ...], circumstances: Context, facts: SessionFacts
    ) -> frozenset[str]:
        found = set[str]()
        asked = [variant for target in targets for variant in label_variants(target)]
        for first in range(0, len(asked), _ASKED_AT_ONCE):
            if first:
                await self.turns.take(principal.key)
            portion = asked[first : first + _ASKED_AT_ONCE]
            question = document.visibility(principal, portion, circumstances, facts)
            found |= await self.policy.visible(question, frozenset(target.id for target in portion))
        return frozenset(found)


def _is_complete(request: UpstreamRequest, page: Listing) -> bool:
    first = request.message is not None and cursor_of(request.message) is None
    return first and page.cursor is None


def named_resources(message: Message) -> Iterator[str]:
    """Yield the URIs of the resources in a message's subscriptions. A URI that is no text becomes an empty URI, which
    no list shows."""
    params = message.params
    if message.method == "resources/subscribe":
        yield _text(params.get("uri"))
    elif isinstance(notifications := params.get("notifications"), Mapping):
        uris = notifications.get("resourceSubscriptions")
        for uri in cast("list[object]", uris) if isinstance(uris, list) else (uris,) if uris is not None else ():
            yield _text(uri)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
