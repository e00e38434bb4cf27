"""A policy folder with its compiled form in force, and without."""

from __future__ import annotations

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

from gateway.model.errors import PolicyBroken, PolicyInput, PolicyLate
from gateway.policy import verdict
from gateway.policy.folder import folders
from gateway.policy.folder.folders import PolicyFolders
from gateway.policy.folder.reload import PolicyFolder
from gateway.policy.plan import loading, store
from gateway.policy.plan.loading import CodeCache, PlanCaches, Plans
from gateway.policy.plan.program import CompiledPolicy, Program
from gateway.policy.plan.store import PlanTrust
from gateway.policy.plan.values import EvaluationFailed, U
from gateway.policy.trials import load_checks, trial
from gateway.policy.trials.trial import Trial
from tests.compiled_policy import compiled
from tests.unit.policy.conftest import Tree

SHIPPED = PolicyFolders(folders.find_shipped())


def _caches(folder: Path) -> PlanCaches:
    return PlanCaches(CodeCache(folder / "code", b"k" * 32), CodeCache(folder / "judged", b"k" * 32))


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each test find no code that another has left."""
    monkeypatch.setattr(loading, "_CODES", {})
    monkeypatch.setattr(loading, "load_shipped", _nothing)
    monkeypatch.setattr(loading, "write_shipped", _nothing)


def _nothing(*_: object) -> None:
    """Stand for a cache without content."""


def _folder(place: PolicyFolders, plans: Plans | None) -> PolicyFolder:
    return PolicyFolder(place, deadline=5.0, monotonic=lambda: 0.0, plans=plans)


async def test_the_shipped_policy_is_asked_in_its_compiled_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loading, "_CODES", {})
    folder = _folder(SHIPPED, Plans(_caches(tmp_path)))

    await folder.open()

    stored = store.unpack(store.SHIPPED.read_bytes(), "shipped.plan")
    assert folder.plan == hashlib.sha256(bytes(stored.plan)).hexdigest()
    for call in load_checks.CALLS:
        answer = await folder.evaluate("decision", call)
        assert verdict.read_decision(answer, verdict.KNOWN).effect == "deny"
    assert len(os.listdir(tmp_path / "code")) == 1  # noqa: PTH208


async def test_a_forged_cache_is_made_again_and_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loading, "_CODES", {})
    plans = Plans(_caches(tmp_path))
    policy = folders.read_policy(SHIPPED)
    await plans.load(policy, ())
    path, good = _forge(tmp_path / "code")
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


async def test_a_malformed_answer_is_blamed_on_its_rule(tree: Tree):
    family = 'package overlay.x\n\nasks contains {"code": 7, "facts": []} if input.version == 1\n'
    decides = 'import data.overlay.x\n\nresult := {"x": x.asks} if input.x\n'
    files = {"gateway/decision/extra.rego": f"package gateway.decision\n\n{decides}", "overlay/x/x.rego": family}
    policy = compiled(folders.read_policy(PolicyFolders(tree(files))))

    assert policy.malformed_rule({"version": 1}) == "data.overlay.x.asks"
    assert policy.malformed_rule({"version": 2}) is None


async def test_the_trial_asks_the_compiled_form_that_decides():
    seen: list[Trial] = []

    async def note(given: Trial) -> None:
        seen.append(given)

    folder = PolicyFolder(SHIPPED, deadline=5.0, monotonic=lambda: 0.0, trial=note)
    await folder.open()

    (given,) = seen
    await trial.require(given)
    allows_all = marshal.dumps(compile(_ALLOWS_ALL, "plan", "exec"))
    with pytest.raises(PolicyBroken, match="allows a call on an empty input"):
        await trial.require(replace(given, code=allows_all, places={}))


_ALLOWS_ALL = """
def allow(m, v0, v1):
    return [{"result": {"version": 1, "effect": "allow", "reasons": [], "obligations": [], "policy": {"name": "x"}}}]

def show(m, v0, v1):
    return [{"result": {"version": 1, "visible": []}}]

ENTRIES, PLACES = {"gateway/decision/result": allow, "gateway/visibility/result": show}, {}
BY_PATH, READS, LASTING = {}, {}, {}
"""


@pytest.mark.opa
async def test_own_rules_are_compiled_once_for_all_starts(tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loading, "_PLANS", {})
    place = PolicyFolders(tree({"gateway/decision/extra.rego": "package gateway.decision\n\nonce := 1\n"}))

    def plans(key: bytes = b"k" * 32) -> Plans:
        return Plans(PlanCaches(CodeCache(tmp_path / "code", key), CodeCache(tmp_path / "judged", key)))

    await _folder(place, plans()).open()
    loading._PLANS.clear()
    monkeypatch.setattr(loading, "find_program", lambda: None)

    await _folder(place, plans()).open()
    with pytest.raises(PolicyBroken, match="there is no `opa` on PATH"):
        await _folder(place, plans(b"o" * 32)).open()
    tree({"gateway/decision/extra.rego": "package gateway.decision\n\nonce := 2\n"})
    with pytest.raises(PolicyBroken, match="there is no `opa` on PATH"):
        await _folder(place, plans()).open()


@pytest.mark.opa
async def test_a_plan_that_comes_for_the_rules_in_force_is_told_as_another_policy(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
):
    plans, policy = Plans(), tree({})
    folder = _folder(PolicyFolders(policy), plans)
    await folder.open()
    loaded = await plans.load(folders.read_policy(PolicyFolders(policy)))

    async def load(*_: object) -> loading.Loaded:
        return replace(loaded, digest="d1")

    monkeypatch.setattr(plans, "load", load)
    store.beside(policy).write_bytes(b"a plan")

    assert [await folder.look(), await folder.look(), await folder.look()] == [False, True, False]
    assert folder.plan == "d1"


async def test_a_signed_file_that_is_no_plan_is_refused(tree: Tree):
    policy = tree({})
    store.beside(policy).write_bytes(store.sign(b"no plan", SIGNER))

    with pytest.raises(PolicyBroken, match="is no compiled policy") as raised:
        await _folder(PolicyFolders(policy), Plans(trust=TRUST)).open()
    assert str(store.beside(policy)) in raised.value.message


SIGNER = Ed25519PrivateKey.generate()
OTHER = Ed25519PrivateKey.generate()
TRUST = PlanTrust((store.public_text(SIGNER),))


@pytest.fixture
def own_plan(tree: Tree) -> tuple[Path, bytes]:
    """A policy folder, and a plan that claims to be of its rules: the shipped one, which answers otherwise."""
    policy = tree(
        {"gateway/facts.yaml": (Path(folders.__file__).parents[3] / "rego/gateway/facts.yaml").read_text("utf-8")}
    )
    rules = store.digest(folders.read_policy(PolicyFolders(policy)).modules)
    return policy, store.pack(structs.replace(store.read_shipped(), rules=rules))


_UNSIGNED: Final = "is not signed by a key of policy.plan_keys"
_NONE: Final = "has no signature"
_MARKED: Final[list[tuple[Callable[[bytes], bytes], str]]] = [
    (lambda packed: packed, _NONE),
    (lambda packed: store.sign(packed, OTHER), _UNSIGNED),
    (lambda packed: store.sign(packed, SIGNER)[:-1] + b"x", _UNSIGNED),
    (lambda packed: store.sign(packed, SIGNER) + b"\n", _UNSIGNED),
    (lambda packed: b"opagate-plan-1 ed25519 \n" + packed, _UNSIGNED),
    (lambda packed: b"opagate-plan-1 ed25519 *\n" + packed, "has a damaged signature"),
    (lambda packed: b"opagate-plan-1 none x\n" + packed, _NONE),
    (lambda packed: b"opagate-plan-2" + store.sign(packed, SIGNER)[14:], _NONE),
    (lambda packed: b" " * 300 + store.sign(packed, SIGNER), _NONE),
    (lambda packed: store.sign(packed, SIGNER).replace(b"ed25519", b"mac", 1), _NONE),
]


@pytest.mark.parametrize(("write", "why"), _MARKED)
async def test_a_plan_without_a_signature_that_counts_is_left_out_and_named(
    own_plan: tuple[Path, bytes], write: Callable[[bytes], bytes], why: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(loading, "_PLANS", {})
    monkeypatch.setattr(loading, "find_program", lambda: None)
    policy, packed = own_plan
    store.beside(policy).write_bytes(write(packed))

    with pytest.raises(PolicyBroken) as raised:
        await _folder(PolicyFolders(policy), Plans(trust=TRUST)).open()

    assert f"{store.beside(policy)} {why}" in raised.value.message
    assert "--sign" in raised.value.remedy


@pytest.mark.parametrize("keys", [(SIGNER,), (OTHER, SIGNER)], ids=["signed", "signed by the newer of two keys"])
async def test_a_plan_with_a_signature_that_counts_decides(
    own_plan: tuple[Path, bytes], keys: tuple[Ed25519PrivateKey, ...], monkeypatch: pytest.MonkeyPatch
):
    """Without an OPA. The plan here is of other rules than it says, which shows that it was read."""
    monkeypatch.setattr(loading, "_PLANS", {})
    monkeypatch.setattr(loading, "find_program", lambda: None)
    policy, packed = own_plan
    store.beside(policy).write_bytes(store.sign(packed, SIGNER))

    loaded = await Plans(trust=PlanTrust(tuple(map(store.public_text, keys)))).load(
        folders.read_policy(PolicyFolders(policy)), [policy]
    )

    assert "gateway/leases/result" in loaded.program.entries


@pytest.mark.opa
async def test_an_opa_compiles_rules_whose_plan_does_not_count(own_plan: tuple[Path, bytes]):
    policy, packed = own_plan
    for content in (packed, store.sign(packed, OTHER)):
        store.beside(policy).write_bytes(content)
        folder = _folder(PolicyFolders(policy), Plans(trust=TRUST))
        await folder.open()
        assert folder.name == "tiny"


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
BY_PATH, READS, LASTING = {}, {}, {}
"""
    from gateway.policy.plan.program import FILE  # noqa: PLC0415

    return Program(compile(source, FILE, "exec"), {})
