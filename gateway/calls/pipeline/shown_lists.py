"""The lists of a moment ago. Policy is asked anew after any change of its question but the time."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple

from msgspec import structs

from gateway.model.call import Context
from gateway.model.caller import Principal
from gateway.model.facts import SessionFacts
from gateway.upstreams.catalogue.definitions import Definitions

LIFETIME: Final = 10.0
"""Seconds for which a list stays: rules may ask for the time."""
MOST: Final = 64
"""Lists that are kept, each with its names: some 40 KB for 500 tools."""


class ShownQuestion(NamedTuple):
    """Everything that decides what a list shows. `policy` is `None` where answers may change with an unchanged policy."""

    policy: object | None
    definitions: Definitions
    names: tuple[str, ...]
    principal: Principal
    context: Context
    facts: SessionFacts


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
