from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pytest

from gateway.config import EmbeddedEngine, OpaEngine, PolicySettings
from gateway.model.decision import Decision, PolicyRevision
from gateway.model.errors import (
    PolicyBroken,
    PolicyError,
    PolicyInput,
    PolicyLate,
    PolicyMalformed,
    PolicyStale,
    PolicyUnavailable,
    PolicyUndefined,
)
from gateway.model.wire import JsonObject
from gateway.policy import document as documents
from gateway.policy.contract import Entrypoint
from gateway.policy.facts import NO_CHANGE, NO_FACTS, FactChange, read_facts
from gateway.policy.folder import folders
from gateway.policy.policy import Policy, PolicyEvent, PolicyStatus

Tree = Callable[[dict[str, str]], Path]

ALLOWED: dict[str, Any] = {
    "version": 1,
    "effect": "allow",
    "reasons": [],
    "obligations": [],
    "policy": {"name": "said", "revision": "r0"},
}
AGENT = {"subject": {"id": "spiffe://corp/agent/triage"}, "resources": [{"id": "a"}, {"id": "b"}]}


class Source:
    """An engine that answers, or raises, what it is told."""

    kind: Literal["embedded", "opa"] = "opa"
    plan = None
    compiled = None
    authorities = None
    facts = NO_FACTS
    ready = True

    def __init__(self, answer: object = ALLOWED, name: str = "", revision: str = "") -> None:
        self.answer = answer
        self.name = name
        self.revision = revision
        self.problem: str | None = None
        self.current = 0.0
        self.looks: list[Any] = []
        self.closed = False
        self.blamed: str | BaseException | None = None
        self.asked: list[tuple[str, JsonObject]] = []

    async def open(self) -> None:
        pass

    async def look(self) -> bool:
        step = self.looks.pop(0)
        if isinstance(step, Exception):
            raise step
        changed, self.problem = step
        return changed

    async def evaluate(self, entrypoint: Entrypoint, document: JsonObject) -> object:
        documents.encode(document)
        self.asked.append((entrypoint, document))
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    async def malformed_rule(self, document: JsonObject, /) -> str | None:
        if isinstance(self.blamed, BaseException):
            raise self.blamed
        return self.blamed

    async def aclose(self) -> None:
        self.closed = True


def policy_of(source: Source, **options: Any) -> Policy:
    return Policy(source, supported=frozenset({"label"}), clock=lambda: 7.0, interval=1.0, **options)


def _only(decision: Decision) -> str:
    assert decision.effect == "deny"
    (reason,) = decision.reasons
    assert reason.message
    assert reason.remedy
    return reason.code


async def test_an_allow_of_the_policy_is_an_allow():
    source = Source()

    decision = await policy_of(source).decide({"version": 1})

    assert decision.allowed
    assert source.asked == [("decision", {"version": 1})]


@pytest.mark.parametrize(("held", "revision"), [("abc", "abc"), ("", "r0")])
async def test_the_revision_that_the_engine_holds_is_the_one_recorded(held: str, revision: str):
    decision = await policy_of(Source(revision=held)).decide({})

    assert decision.policy == PolicyRevision("said", revision)


MALFORMED = {**ALLOWED, "effect": "deny"}


async def test_a_malformed_answer_names_the_rule_that_gave_a_finding_without_a_code():
    source = Source(MALFORMED)
    plain = await policy_of(source).decide({})
    source.blamed = "data.gateway.denials.tickets.denials"

    blamed = await policy_of(source).decide({})

    assert _only(plain) == _only(blamed) == "policy/malformed"
    assert "`gateway.decision.result` does not follow the contract" in plain.reasons[0].message
    assert blamed.reasons[0].message == "the rule `data.gateway.denials.tickets.denials` gives a finding without a code"
    assert blamed.undecided
    assert blamed.policy == plain.policy


async def test_a_malformed_answer_stays_one_if_nobody_can_say_which_rule_it_was():
    source = Source(MALFORMED)
    source.blamed = PolicyLate("late", "wait")

    assert _only(await policy_of(source).decide({})) == "policy/malformed"


async def test_a_policy_that_says_its_name_is_called_by_it():
    unnamed = Source({}, name="held")

    assert (await policy_of(Source(name="held")).decide({})).policy.name == "said"
    assert (await policy_of(unnamed).decide({})).policy.name == "held"


async def test_without_any_revision_it_is_unknown():
    source = Source(ALLOWED | {"policy": {"name": "said"}})

    assert (await policy_of(source).decide({})).policy == PolicyRevision("said", "unknown")


@pytest.mark.parametrize(
    "error", [PolicyUnavailable, PolicyLate, PolicyUndefined, PolicyMalformed, PolicyStale, PolicyInput, PolicyBroken]
)
async def test_whatever_fails_is_a_denial_with_its_own_code(error: type[PolicyError]):
    source = Source(error("it failed", "mend it"), name="known", revision="abc")

    decision = await policy_of(source).decide({})

    assert _only(decision) == error.code
    assert decision.reasons[0].message == "it failed"
    assert decision.reasons[0].remedy == "mend it"
    assert decision.policy == PolicyRevision("known", "abc")


async def test_a_failure_before_any_policy_is_of_an_unknown_policy():
    decision = await policy_of(Source(PolicyUnavailable("x", "y"))).decide({})

    assert decision.policy == PolicyRevision("unknown", "unknown")


@pytest.mark.parametrize("error", [RuntimeError("hunter2"), KeyError("x"), AssertionError(), RecursionError()])
async def test_a_defect_is_a_denial_and_is_told(error: Exception):
    events: list[PolicyEvent] = []
    policy = policy_of(Source(error), on_event=events.append)

    decision = await policy.decide({})

    assert _only(decision) == "policy/unavailable"
    assert "hunter2" not in decision.reasons[0].message
    assert await policy.visible({}, frozenset({"a"})) == frozenset()
    assert [(event.kind, event.error) for event in events] == [("failed", error), ("failed", error)]


async def test_a_listener_that_fails_does_not_turn_a_denial_into_an_exception():
    def listener(_: PolicyEvent) -> None:
        raise OSError("disk full")

    decision = await policy_of(Source(RuntimeError()), on_event=listener).decide({})

    assert _only(decision) == "policy/unavailable"


@pytest.mark.parametrize("error", [asyncio.CancelledError(), KeyboardInterrupt()])
async def test_a_caller_that_is_gone_is_not_answered(error: BaseException):
    with pytest.raises(type(error)):
        await policy_of(Source(error)).decide({})


async def test_a_document_that_cannot_be_put_exactly_is_a_denial():
    source = Source()

    assert _only(await policy_of(source).decide({"arguments": {"x": float("inf")}})) == "policy/input"
    assert await policy_of(source).visible({"resources": [2**70]}, frozenset()) == frozenset()
    assert source.asked == []


async def test_an_obligation_that_nobody_carries_out_is_a_denial():
    answer = ALLOWED | {"obligations": [{"id": "redact", "properties": {"pointers": ["/a"]}}]}

    assert _only(await policy_of(Source(answer)).decide({})) == "policy/obligation"


async def test_what_is_visible_is_what_was_named():
    source = Source({"version": 1, "visible": ["a"]})

    assert await policy_of(source).visible({}, frozenset({"a", "b"})) == {"a"}
    assert source.asked == [("visibility", {})]


async def test_a_failure_hides_everything():
    assert await policy_of(Source(PolicyLate("late"))).visible({}, frozenset({"a"})) == frozenset()


@pytest.mark.parametrize(("age", "code"), [(60.0, None), (60.1, "policy/stale")])
async def test_a_policy_that_was_not_current_for_too_long_refuses_and_shows_nothing(age: float, code: str | None):
    source = Source({**ALLOWED, "visible": ["a"]}, name="known", revision="abc")
    policy = policy_of(source, stale_after=60.0, monotonic=lambda: age)

    decision = await policy.decide({})
    visible = await policy.visible({}, frozenset({"a"}))

    if code is None:
        assert (decision.allowed, visible, policy.status().problem) == (True, {"a"}, None)
    else:
        assert (_only(decision), visible, source.asked) == (code, frozenset(), [])
        assert decision.policy == PolicyRevision("known", "abc")
        assert "policy.stale_after" in decision.reasons[0].message
        assert "/readyz" in decision.reasons[0].remedy


async def test_a_look_that_hangs_makes_a_policy_stale_too():
    source, now = Source(), [0.0]
    looking = asyncio.Event()

    async def look() -> bool:
        looking.set()
        return bool(await asyncio.Event().wait())

    source.look = look
    policy = policy_of(source, stale_after=60.0, monotonic=lambda: now[0], sleep=_Steps(1))
    await policy.start()
    await looking.wait()
    assert (await policy.decide({})).allowed
    now[0] = 61.0

    assert _only(await policy.decide({})) == "policy/stale"
    assert str(policy.status().problem).endswith("every call is refused (policy/stale)")
    await policy.stop()


async def test_without_a_limit_no_policy_is_refused_for_its_age():
    assert (await policy_of(Source(), monotonic=lambda: 1e12).decide({})).allowed


@pytest.mark.parametrize("kind", ["embedded", "opa"])
async def test_what_a_problem_means_for_calls_is_told_with_it(kind: Literal["embedded", "opa"]):
    source, now = Source(), [0.0]
    source.kind, source.problem = kind, "it is broken; mend it"
    policy = policy_of(source, stale_after=60.0, monotonic=lambda: now[0])
    so_far = {"embedded": "it is broken; mend it; the policy before it stays in force", "opa": "it is broken; mend it"}
    assert policy.status().problem == so_far[kind]

    now[0] = 61.0
    stale = "it is broken; mend it; until that is mended, every call is refused (policy/stale)"
    assert policy.status().problem == stale


class _Steps:
    """A sleep that returns at once, as often as told, and then never."""

    def __init__(self, count: int) -> None:
        self._left = count
        self.done = asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        assert seconds == 1.0
        if not self._left:
            self.done.set()
            await asyncio.Event().wait()
        self._left -= 1


async def test_the_watch_tells_of_changes_and_of_each_problem_once():
    source = Source(name="n", revision="r")
    events: list[PolicyEvent] = []
    defect = RuntimeError()
    source.looks = [(False, None), (True, None), (False, "p1"), (False, "p1"), defect, (False, "p2"), (True, None)]
    source.looks += [(False, "p3"), (False, None), (False, None)]
    steps = _Steps(len(source.looks))
    policy = policy_of(source, sleep=steps, on_event=events.append)

    await policy.start()
    await steps.done.wait()
    await policy.stop()

    assert [(event.kind, event.status.problem) for event in events] == [
        ("started", None),
        ("loaded", None),
        ("problem", "p1"),
        ("failed", "p1"),
        ("problem", "p2"),
        ("loaded", None),
        ("problem", "p3"),
        ("mended", None),
    ]
    assert policy.status() == PolicyStatus(ready=True, name="n", revision="r", engine="opa", problem=None, since=7.0)
    assert source.closed


class _Declaring(Source):
    """An engine whose next policy declares a fact."""

    async def look(self) -> bool:
        self.facts = read_facts({"overlay": {"facts": {"reads": {"count": "calls", "by": "task"}}}})
        return True


async def test_a_policy_that_comes_into_force_tells_which_facts_count_from_zero():
    events, steps = list[PolicyEvent](), _Steps(2)
    policy = policy_of(_Declaring(), sleep=steps, on_event=events.append)
    await policy.start()
    await steps.done.wait()
    await policy.stop()

    assert [event.facts for event in events] == [NO_CHANGE, FactChange(begun=("reads",)), NO_CHANGE]


async def test_the_watch_tells_of_a_policy_that_turns_stale_and_of_its_end():
    source = Source(name="n", revision="r")
    events: list[PolicyEvent] = []
    source.looks = [(False, "p"), (False, "p"), (False, "p"), (False, "p"), (False, None), (False, None)]
    steps = _Steps(len(source.looks))
    policy = policy_of(
        source,
        sleep=steps,
        on_event=events.append,
        stale_after=60.0,
        monotonic=lambda: 61.0 if 1 < len(source.looks) < 5 else 0.0,
    )

    told: list[int] = []
    policy.on_change(lambda: told.append(len(source.looks)))

    await policy.start()
    await steps.done.wait()
    await policy.stop()

    assert [event.kind for event in events] == ["started", "problem", "stale", "mended"]
    # Lists are empty meanwhile.
    assert told == [4, 1]
    assert str(events[2].status.problem).startswith("p; until that is mended, every call is refused")


async def test_an_opa_that_answers_and_whose_age_is_not_known_is_told_as_loaded_and_as_a_problem():
    source = Source(name="n", revision="r")
    source.problem = "it does not say"
    source.looks = [(False, source.problem), (False, source.problem)]
    events: list[PolicyEvent] = []
    steps = _Steps(2)
    policy = policy_of(source, sleep=steps, on_event=events.append)

    await policy.start()
    await steps.done.wait()
    await policy.stop()

    assert [event.kind for event in events] == ["started", "problem"]
    assert policy.status().since == 7.0


async def test_who_asked_is_told_of_each_other_policy_and_cannot_end_the_watch():
    source = Source(name="n", revision="r")
    source.looks = [(False, None), (True, None), (False, "p1"), (True, None)]
    steps = _Steps(len(source.looks))
    events: list[PolicyEvent] = []
    told: list[str] = []
    policy = policy_of(source, sleep=steps, on_event=events.append)

    def tell() -> None:
        told.append(policy.status().revision)
        raise RuntimeError

    policy.on_change(tell)
    await policy.start()
    await steps.done.wait()
    await policy.stop()

    assert told == ["r", "r"]
    assert [event.kind for event in events] == ["started", "loaded", "failed", "problem", "loaded", "failed"]


async def test_an_engine_that_is_not_ready_at_start_is_told_and_waited_for():
    source = Source()
    source.ready = False
    source.problem = "not there"
    events: list[PolicyEvent] = []
    policy = policy_of(source, on_event=events.append)

    await policy.start()
    await policy.stop()

    assert [event.kind for event in events] == ["problem"]
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "policy-watch"]
    assert policy.status().since == 0.0
    assert not policy.status().ready


async def test_stopping_what_was_not_started_closes_the_engine():
    source = Source()

    await policy_of(source).stop()

    assert source.closed


async def test_the_embedded_engine_is_built_from_settings(tree: Tree, tmp_path: Path):
    grants = tmp_path / "grants.yaml"
    grants.write_text("upstreams: {agents: [someone]}\n", encoding="utf-8")
    for given, allowed in ((None, True), (grants, False)):
        policy = Policy.build(PolicySettings(path=tree({}), grants=given), supported=frozenset(), clock=lambda: 5.0)
        await policy.start()
        decision = await policy.decide(AGENT)
        visible = await policy.visible(AGENT, frozenset({"a", "b"}))
        status = policy.status()
        await policy.stop()

        assert decision.allowed == allowed
        assert visible == (frozenset({"a", "b"}) if allowed else frozenset())
        assert status == PolicyStatus(
            ready=True,
            name="tiny",
            revision=decision.policy.revision,
            engine="embedded",
            problem=None,
            since=5.0,
            plan=status.plan,
        )
        assert status.plan


async def test_a_broken_policy_stops_the_start(tree: Tree):
    policy = Policy.build(PolicySettings(path=tree({"a.rego": "package"})), supported=frozenset(), clock=lambda: 0.0)

    with pytest.raises(PolicyBroken, match=r"a\.rego:"):
        await policy.start()

    assert _only(await policy.decide(AGENT)) == "policy/unavailable"
    await policy.stop()


async def test_a_late_embedded_engine_is_refused(tree: Tree):
    engine = EmbeddedEngine(deadline=timedelta(microseconds=1))
    policy = Policy.build(
        PolicySettings(path=tree({}), engine=engine), supported=frozenset(), clock=lambda: 0.0, is_for_calls=False
    )
    await policy.start()

    assert _only(await policy.decide(AGENT)) == "policy/late"
    await policy.stop()


async def test_an_opa_that_is_not_there_is_a_denial_and_not_ready(tmp_path: Path):
    engine = OpaEngine(kind="opa", url=f"unix://{tmp_path}/opa.sock")
    policy = Policy.build(PolicySettings(engine=engine), supported=frozenset(), clock=lambda: 0.0)
    await policy.start()

    assert _only(await policy.decide(AGENT)) == "policy/unavailable"
    assert not policy.status().ready
    assert "cannot be reached" in str(policy.status().problem)
    await policy.stop()


def test_the_shipped_folder_is_the_installed_one_if_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(folders, "__file__", str(tmp_path / "gateway/policy/folder/folders.py"))
    assert folders.find_shipped() == tmp_path / "rego"

    (tmp_path / "gateway/_rego").mkdir(parents=True)
    assert folders.find_shipped() == tmp_path / "gateway/_rego"


async def test_a_decision_on_nothing_is_a_denial(tree: Tree):
    policy = Policy.build(PolicySettings(path=tree({})), supported=frozenset(), clock=lambda: 0.0)
    await policy.start()

    assert json.dumps([reason.code for reason in (await policy.decide({})).reasons]) == '["tiny/default"]'
    await policy.stop()
