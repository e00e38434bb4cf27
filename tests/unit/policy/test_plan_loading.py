"""A policy folder with its compiled form in force, and without."""

from __future__ import annotations

import gc
import hashlib
import marshal
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, cast

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import structs

from gateway.errors import PolicyBroken, PolicyInput, PolicyLate, PolicyUnavailable
from gateway.policy import document as documents
from gateway.policy import folders, load_checks, trial, verdict
from gateway.policy.bundle import Bundle
from gateway.policy.embedded import Embedded
from gateway.policy.evaluator_agreement import require_agreement
from gateway.policy.folders import PolicyFolders
from gateway.policy.plan import loading, signatures, store
from gateway.policy.plan.code_cache import CodeCache
from gateway.policy.plan.loading import UNFIT, Plans
from gateway.policy.plan.program import CompiledPolicy, Program
from gateway.policy.plan.signatures import PlanTrust
from gateway.policy.plan.values import EvaluationFailed, U
from gateway.policy.reload import PolicyFolder
from gateway.policy.trial import Trial
from tests.unit.policy.conftest import Tree

SHIPPED = PolicyFolders(folders.find_shipped())


def _folder(place: PolicyFolders, plans: Plans | None) -> PolicyFolder:
    return PolicyFolder(place, deadline=5.0, monotonic=lambda: 0.0, plans=plans)


async def test_the_shipped_policy_is_asked_in_its_compiled_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loading, "_CODES", {})
    folder = _folder(SHIPPED, Plans(CodeCache(tmp_path / "cache", b"k" * 32)))

    await folder.open()

    assert (folder.evaluator, folder.detour) == ("plan", None)
    stored = store.unpack(store.SHIPPED.read_bytes(), "shipped.plan")
    assert folder.plan == hashlib.sha256(bytes(stored.plan)).hexdigest()
    for call in load_checks.CALLS:
        answer = await folder.evaluate("decision", call)
        assert verdict.read_decision(answer, verdict.KNOWN).effect == "deny"
        assert answer == Embedded(folders.read_policy(SHIPPED), deadline=5.0).answer("decision", _encoded(call))
    assert len(os.listdir(tmp_path / "cache")) == 1  # noqa: PTH208


async def test_a_forged_cache_is_made_again_and_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loading, "_CODES", {})
    plans = Plans(CodeCache(tmp_path, b"k" * 32))
    policy = folders.read_policy(SHIPPED)
    await plans.load(policy, ())
    path, good = _forge(tmp_path)
    loading._CODES.clear()

    loaded = await plans.load(policy, ())

    assert loaded.program is not None
    assert path.read_bytes()[:32] == good[:32]


def _forge(folder: Path) -> tuple[Path, bytes]:
    """Take the digest from the file of the cache. Return the file, and what it held."""
    (path,) = folder.iterdir()
    good = path.read_bytes()
    path.write_bytes(b"\0" * 32 + good[32:])
    return path, good


async def _passes(_trial: Trial) -> None:
    """Stand for a trial that a policy passes."""


async def test_a_compiled_policy_has_no_engine_until_a_malformed_answer_needs_it():
    others = _engines()
    folder = PolicyFolder(SHIPPED, deadline=5.0, monotonic=lambda: 0.0, plans=Plans(), trial=_passes)
    await folder.open()
    without = _engines() - others

    rule = await folder.malformed_rule(documents.encode(load_checks.CALLS[0]))

    assert (without, folder.evaluator, rule) == (0, "plan", None)
    assert _engines() - others == 1


def _engines() -> int:
    gc.collect()
    return sum(isinstance(item, Embedded) for item in gc.get_objects())


async def test_the_trial_compares_the_compiled_form_that_decides():
    seen: list[Trial] = []

    async def note(given: Trial) -> None:
        seen.append(given)

    folder = PolicyFolder(SHIPPED, deadline=5.0, monotonic=lambda: 0.0, plans=Plans(), trial=note)
    await folder.open()

    (given,) = seen
    await trial.require(given)
    allows_all = marshal.dumps(compile(_ALLOWS_ALL, "plan", "exec"))
    with pytest.raises(PolicyBroken, match="differ"):
        await trial.require(replace(given, code=allows_all))


_ALLOWS_ALL = """
def allow(m, v0, v1):
    return [{"result": {"version": 1, "effect": "allow", "reasons": [], "obligations": [], "policy": {"name": "x"}}}]

ENTRIES, PLACES, LASTING = {"gateway/decision/result": allow}, {}, {}
"""


async def test_a_plan_that_comes_for_the_rules_in_force_is_told_as_another_policy(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
):
    plans, policy = Plans(), tree({})
    folder = _folder(PolicyFolders(policy), plans)
    await folder.open()
    engine = Embedded(folders.read_policy(PolicyFolders(policy)), deadline=5.0)

    class AsRegorus(_Program):
        def answer(self, entry: str, document: object) -> object:
            return engine.answer(cast("Any", entry.split("/")[1]), documents.encode(cast("Any", document)))

    async def load(_policy: Bundle, _folders: object) -> loading.Loaded:
        return loading.Loaded(cast("Program", AsRegorus(None)), digest="d1")

    monkeypatch.setattr(plans, "load", load)
    store.beside(policy).write_bytes(b"a plan")

    assert [await folder.look(), await folder.look(), await folder.look()] == [False, True, False]
    assert (folder.evaluator, folder.plan, folder.detour) == ("plan", "d1", None)


async def test_changed_rules_run_on_regorus_and_say_so(tree: Tree):
    folder = _folder(PolicyFolders(tree({})), Plans())

    await folder.open()

    assert (folder.evaluator, folder.detour) == ("regorus", UNFIT)
    assert cast("dict[str, Any]", await folder.evaluate("decision", {}))["effect"] == "deny"


async def test_a_broken_plan_beside_a_policy_is_left_and_named(tree: Tree):
    policy = tree({})
    store.beside(policy).write_bytes(signatures.authenticate(b"no plan", b"k" * 32))
    folder = _folder(PolicyFolders(policy), Plans(trust=PlanTrust(b"k" * 32)))

    await folder.open()

    assert folder.evaluator == "regorus"
    assert str(store.beside(policy)) in (folder.detour or "")


@pytest.fixture
def own_plan(tree: Tree) -> tuple[Path, bytes]:
    """A policy folder, and a plan that claims to be of its rules: the shipped one, which answers otherwise."""
    policy = tree({})
    rules = store.digest(folders.read_policy(PolicyFolders(policy)).modules)
    return policy, store.pack(structs.replace(store.read_shipped(), rules=rules))


SIGNER = Ed25519PrivateKey.generate()
OTHER = Ed25519PrivateKey.generate()


_UNSIGNED: Final = "is not signed by a key of policy.plan_keys"
_FOREIGN: Final = "was compiled for another gateway"
_NONE: Final = "has no signature"
_MARKED: Final[list[tuple[Callable[[bytes], bytes], str]]] = [
    (lambda packed: packed, _NONE),
    (lambda packed: signatures.sign(packed, OTHER), _UNSIGNED),
    (lambda packed: signatures.sign(packed, SIGNER)[:-1] + b"x", _UNSIGNED),
    (lambda packed: signatures.sign(packed, SIGNER) + b"\n", _UNSIGNED),
    (lambda packed: b"opagate-plan-1 ed25519 \n" + packed, _UNSIGNED),
    (lambda packed: b"opagate-plan-1 ed25519 *\n" + packed, "has a damaged signature"),
    (lambda packed: b"opagate-plan-1 none x\n" + packed, _NONE),
    (lambda packed: b"opagate-plan-2" + signatures.sign(packed, SIGNER)[14:], _NONE),
    (lambda packed: b" " * 300 + signatures.sign(packed, SIGNER), _NONE),
    (lambda packed: signatures.authenticate(packed, b"o" * 32), _FOREIGN),
    (lambda packed: signatures.authenticate(packed, b""), _FOREIGN),
    (lambda packed: signatures.sign(packed, SIGNER).replace(b"ed25519", b"mac", 1), _FOREIGN),
]


@pytest.mark.parametrize(("write", "why"), _MARKED)
async def test_a_plan_without_a_mark_that_counts_is_left_out_and_named(
    own_plan: tuple[Path, bytes], write: Callable[[bytes], bytes], why: str
):
    policy, packed = own_plan
    store.beside(policy).write_bytes(write(packed))
    folder = _folder(PolicyFolders(policy), Plans(trust=PlanTrust(b"k" * 32, (signatures.public_text(SIGNER),))))

    await folder.open()

    assert (folder.evaluator, folder.plan) == ("regorus", None)
    assert f"{store.beside(policy)} {why}" in (folder.detour or "")
    assert "--sign" in (folder.detour or "")


@pytest.mark.parametrize("mark", ["signed", "signed by the newer of two keys", "own"])
async def test_a_plan_with_a_mark_that_counts_is_compared_with_the_rules(own_plan: tuple[Path, bytes], mark: str):
    """The forged plan here differs from its rules, which shows that it was read."""
    policy, packed = own_plan
    keys = tuple(map(signatures.public_text, (OTHER, SIGNER) if "two" in mark else (SIGNER,)))
    marked = signatures.authenticate(packed, b"k" * 32) if mark == "own" else signatures.sign(packed, SIGNER)
    store.beside(policy).write_bytes(marked)

    with pytest.raises(PolicyBroken, match="differ"):
        await _folder(PolicyFolders(policy), Plans(trust=PlanTrust(b"k" * 32, keys))).open()


async def test_without_any_key_no_plan_in_a_file_counts(own_plan: tuple[Path, bytes]):
    policy, packed = own_plan
    for marked in (packed, signatures.authenticate(packed, b""), signatures.sign(packed, SIGNER)):
        store.beside(policy).write_bytes(marked)
        folder = _folder(PolicyFolders(policy), Plans())
        await folder.open()
        assert folder.evaluator == "regorus"


async def test_without_plans_regorus_is_no_detour():
    folder = _folder(SHIPPED, None)

    await folder.open()

    assert (folder.evaluator, folder.detour) == ("regorus", None)


class _Program:
    """A compiled policy with one answer."""

    entries: Final = frozenset({"gateway/decision/result", "gateway/visibility/result"})

    def __init__(self, answer: object) -> None:
        self._answer = answer

    def answer(self, _entry: str, _document: object) -> object:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def _compiled(answer: object, seconds: float = 0.0) -> CompiledPolicy:
    times = iter([0.0, seconds, seconds, seconds])
    return CompiledPolicy(cast("Program", _Program(answer)), deadline=1.0, thread_time=lambda: next(times))


@pytest.mark.parametrize(
    ("answer", "code"),
    [(EvaluationFailed("a.rego:3"), "policy/unavailable"), ([], "policy/malformed"), (True, "policy/malformed")],
)
def test_an_answer_that_is_no_object_is_a_failure(answer: object, code: str):
    with pytest.raises(Exception, match=r"a\.rego:3|no object|not an object") as raised:
        _compiled(answer).evaluate("decision", {})
    assert cast("Any", raised.value).code == code


def test_an_answer_after_the_deadline_is_refused():
    with pytest.raises(PolicyLate):
        _compiled({}, seconds=1.5).evaluate("decision", {})


@pytest.mark.parametrize("argument", [2**64, -(2**63) - 1, float("nan"), float("inf"), "\ud800", {"\ud800": 1}])
def test_an_argument_with_several_readings_is_refused(argument: object):
    with pytest.raises(PolicyInput):
        _compiled({}).evaluate("decision", cast("Any", {"arguments": {"x": argument}}))


@pytest.mark.parametrize("answer", [{"version": 1, "effect": "allow"}, None, {}])
async def test_a_compiled_form_that_answers_differently_is_refused(answer: object):
    policy = folders.read_policy(SHIPPED)

    with pytest.raises(PolicyBroken) as raised:
        await require_agreement(_compiled(answer), Embedded(policy, deadline=5.0), policy)
    assert "differ" in raised.value.message


async def test_a_policy_whose_compiled_form_differs_is_not_put_into_force(monkeypatch: pytest.MonkeyPatch):
    plans = Plans()

    async def load(_policy: Bundle, _folders: object) -> loading.Loaded:
        return loading.Loaded(cast("Program", _Program({"version": 1, "effect": "allow"})))

    monkeypatch.setattr(plans, "load", load)
    folder = _folder(SHIPPED, plans)

    with pytest.raises(PolicyBroken):
        await folder.open()
    assert not folder.ready
    with pytest.raises(PolicyUnavailable):
        await folder.evaluate("decision", {})


async def test_grants_are_read_with_the_policy_and_are_no_part_of_the_plan():
    policy = folders.read_policy(SHIPPED)
    changed = policy.decoded_data()
    changed["gateway"]["grants"]["upstreams"] = {"*": []}
    plans = Plans()

    loaded = await plans.load(policy, ())
    other = await plans.load(replace(policy, data=policy.data.replace('"upstreams"', '"nothing"')), ())

    assert loaded.program is not None
    assert other.program is not None


def test_a_failure_names_the_rule():
    program = _failing()

    with pytest.raises(EvaluationFailed, match=r"^a\.rego:3$"):
        program.answer("e", U)


def _failing() -> Program:
    source = """
from gateway.policy.plan.values import once
def f0_rule(m, v0, v1):
    return once(1, 2)
def entry_0(m, v0, v1):
    return f0_rule(m, v0, v1)
ENTRIES = {"e": entry_0}
PLACES = {"f0_rule": "a.rego:3"}
LASTING = {}
"""
    from gateway.policy.plan.program import FILE  # noqa: PLC0415

    return Program(compile(source, FILE, "exec"), {})


def _encoded(document: object) -> bytes:
    from gateway.policy import document as documents  # noqa: PLC0415

    return documents.encode(cast("Any", document))
