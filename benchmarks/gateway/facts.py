"""What declared facts add to a call: ten that count it, ten of other tools, and the facts that ship.

The real ledger counts, reads and settles the same calls in turn under no fact, under ten facts of other tools that have
numbers for this caller, under ten facts that fit, and under the facts that ship. The added time is processor time of the event loop's thread:
marks, fold, values, and the JSON of the journal and of the question to policy.
"""

from __future__ import annotations

import datetime as dt
import gc
import os
import platform
import statistics
import time
from itertools import count
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import yaml

from benchmarks.gateway.targets import ROOT
from gateway.config import HistorySettings
from gateway.history import History, build_history
from gateway.history.declared.marks import FactReader
from gateway.model.call import Call
from gateway.model.caller import AuthMethod, Principal, User
from gateway.model.content import CallContent
from gateway.model.target import Effect, Labels, Role, Target
from gateway.policy.facts import FactBook, read_facts

if TYPE_CHECKING:
    from collections.abc import Sequence

GOALS: Final = {"ten of other tools": 1.0, "ten that fit": 20.0, "all that ship": 20.0}
"""Microseconds that facts may add to a call."""
TEN: Final = """
calls_of_user: {count: calls, by: user, within: 1h}
calls_of_agent: {count: calls, by: agent, within: 1h}
writes_of_user: {count: calls, of: {effect: write}, by: user, within: 1h}
writes_of_tenant: {count: calls, of: {effect: write}, by: tenant, within: 24h}
refunded: {sum: /arguments/amount, of: {tool: TOOL}, by: [user, /arguments/customer], within: 24h}
refunded_by_agent: {sum: /arguments/amount, of: {tool: TOOL}, by: agent, within: 24h}
customers: {distinct: /arguments/customer, of: {tool: TOOL}, by: user, within: 10m}
systems: {distinct: system, of: {effect: write}, by: user, within: 10m}
failures: {count: calls, of: {outcome: [failed, unknown]}, by: [agent, tool], within: 24h, since: {outcome: done}}
paid_before: {last: time, of: {tool: TOOL, outcome: done}, by: [task, /arguments/customer], within: 1h}
"""
ELSEWHERE: Final = "".join(
    f"{name}: {{{aggregate}, of: {{tool: other/*}}, by: {by}, within: 1h}}\n"
    for name, aggregate, by in (
        *((f"calls_{scope}", "count: calls", scope) for scope in ("user", "agent", "tenant", "task")),
        *((f"sums_{scope}", "sum: /arguments/amount", scope) for scope in ("user", "agent", "tenant", "task")),
        ("customers", "distinct: /arguments/customer", "user"),
        ("last_time", "last: time", "task"),
    )
)
HEAD: Final = """\
# What declared facts cost

    make bench ARGS=facts                # prints this page; exit status 1 beyond a goal
    make bench ARGS="facts --write"      # writes it

Each call is counted, read and settled by the real ledger in this process, in turn under no fact, under ten facts of other \
tools, under ten facts that fit, and under the facts that ship. The ten facts of other tools have numbers for this caller. The ten that fit are four \
counts, two sums, two numbers of different values, a count with `since` and a time, by user, agent, tenant, task and customer. \
The time is processor time of the thread in microseconds, as the median of each way, with the JSON for the journal and for policy.
"""


class Added(NamedTuple):
    """The median cost of some facts, in microseconds of a call."""

    kind: str
    base: float
    with_facts: float

    @property
    def added(self) -> float:
        return self.with_facts - self.base

    def is_within_goal(self) -> bool:
        return self.added <= GOALS[self.kind]


def _target(upstream: str, name: str) -> Target:
    labels = Labels(Effect.WRITE, roles={"/amount": Role.AMOUNT})
    return Target("tool", upstream, name, upstream, "acme", labels=labels)


MEASURED: Final = _target("payments", "refund")
OTHER: Final = _target("other", "refund")
ADA: Final = Principal("agent", "https://idp.example", AuthMethod.JWT, user=User("ada"))


class Counted:
    """A ledger under some declared facts, with a task of one caller."""

    def __init__(self, facts: FactBook) -> None:
        self.now = 1_000_000.0
        self._history: History = build_history(HistorySettings(), clock=lambda: self.now)
        self._history.ledger.declared = FactReader(b"k" * 32, lambda: facts)
        self._task = self._history.tasks.open_implicit(ADA, self.now)
        self._numbers = count()

    def call(self, target: Target, number: int) -> bytes:
        """Count, let pass and settle a call. Return the JSON that the journal and policy get of its facts."""
        ledger, call = self._history.ledger, f"call-{next(self._numbers)}"
        arguments = {"customer": f"customer-{number % 50}", "amount": 12.5, "text": "refund"}
        self.now += 0.25
        counted = ledger.reserve(
            self._task, call, Call("tools/call", target, arguments), CallContent(), self.now, principal=ADA
        )
        declared = counted.declared
        written = msgspec.json.encode([counted.fields, declared.values, declared.before, declared.incomplete])
        ledger.let_pass(self._task, call)
        ledger.settle(self._task, call)
        return written


def facts(*, quick: bool) -> list[Added]:
    """Measure what facts add to a call."""
    books = {
        "none": FactBook(),
        "ten of other tools": _book(ELSEWHERE),
        "ten that fit": _book(TEN.replace("TOOL", "payments/refund")),
        "all that ship": read_facts({"gateway": yaml.safe_load((ROOT / "rego/gateway/facts.yaml").read_text())}),
    }
    runs = {kind: Counted(book) for kind, book in books.items()}
    for run in runs.values():
        for number in range(300):
            run.call(OTHER if number % 2 else MEASURED, number)
    times: dict[str, list[float]] = {kind: [] for kind in runs}
    gc.collect()
    gc.freeze()
    for number in range(2_000 if quick else 10_000):
        for kind, run in runs.items():
            begun = time.thread_time_ns()
            run.call(MEASURED, number)
            times[kind].append((time.thread_time_ns() - begun) / 1_000)
    gc.unfreeze()
    medians = {kind: statistics.median(found) for kind, found in times.items()}
    return [Added(kind, medians["none"], medians[kind]) for kind in GOALS]


def page(found: Sequence[Added]) -> str:
    """Return the page of docs/benchmarks."""
    rows = "\n".join(
        f"| {each.kind} | {each.base:.0f} | {each.with_facts:.0f} | {each.added:.0f} | {GOALS[each.kind]:.0f} |"
        for each in found
    )
    machine = f"Measured on {dt.datetime.now(dt.UTC).date()}, CPython {platform.python_version()}, {os.cpu_count()} shared cores."
    return f"{HEAD}\n{machine}\n\n| facts | call without facts | call with them | added | goal |\n|---|---:|---:|---:|---:|\n{rows}\n"


def _book(text: str) -> FactBook:
    return read_facts({"overlay": {"facts": yaml.safe_load(text)}})
