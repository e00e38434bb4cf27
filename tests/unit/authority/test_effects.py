"""The register of effects: who has an effect first, and what becomes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.authority import effects
from gateway.authority.effects import EffectRegister
from gateway.model.call import Call
from gateway.model.caller import AuthMethod, Principal, User
from gateway.model.errors import StoreError
from gateway.model.target import Labels, Target
from tests.unit.base.store.keeping import sealed_store

if TYPE_CHECKING:
    from pathlib import Path

KEY = b"e" * 32


def make_register(folder: Path, now: float = 1000.0) -> EffectRegister:
    return EffectRegister(sealed_store(folder, clock=lambda: now), KEY, lambda: now)


def make_caller(agent: str = "clerk", user: str | None = "ann") -> Principal:
    return Principal(agent, "idp", AuthMethod.JWT, user=None if user is None else User(user))


def make_call(order: str = "o-1", upstream: str = "payments", audience: str = "bank") -> Call:
    target = Target("tool", upstream, "pay", audience, labels=Labels(effect_key=("/order",)))
    return Call("tools/call", target, {"order": order})


@pytest.fixture
def register(tmp_path: Path) -> EffectRegister:
    return make_register(tmp_path)


@pytest.mark.parametrize(
    ("caller", "call", "is_same"),
    [
        (make_caller("other-agent"), make_call(), True),
        (make_caller(), make_call(upstream="payments-too"), True),
        (make_caller(user="bob"), make_call(), False),
        (make_caller(user=None), make_call(), False),
        (make_caller(), make_call("o-2"), False),
        (make_caller(), make_call(audience="another-bank"), False),
    ],
)
async def test_the_user_the_system_and_the_values_make_an_effect(
    register: EffectRegister, caller: Principal, call: Call, *, is_same: bool
):
    await register.claim(make_caller(), make_call(), "c-1", "t-1")
    claim = await register.claim(caller, call, "c-2", "t-2")

    assert claim is not None
    assert (claim.repeats is not None) is is_same


async def test_the_end_of_an_earlier_call_does_not_free_the_effect_of_one_that_a_person_let_through(
    register: EffectRegister,
):
    caller, call = make_caller(), make_call()
    await register.claim(caller, call, "c-1", "t")
    second = await register.claim(caller, call, "c-2", "t")
    assert second is not None
    await register.conclude(second, passes=True)

    register.settle("c-1", "failed")
    third = await register.claim(caller, call, "c-3", "t")

    assert third is not None
    assert third.repeats is not None
    assert (third.repeats.call, third.repeats.state) == ("c-2", "open")


async def test_a_word_about_an_earlier_call_does_not_free_the_effect_either(register: EffectRegister):
    caller, call = make_caller(), make_call()
    await register.claim(caller, call, "c-1", "t")
    register.settle("c-1", "unknown")
    second = await register.claim(caller, call, "c-2", "t")
    assert second is not None
    await register.conclude(second, passes=True)

    assert not register.confirm("c-1", "failed")
    register.settle("c-2", "done")
    third = await register.claim(caller, call, "c-3", "t")
    assert third is not None
    assert third.repeats is not None
    assert (third.repeats.call, third.repeats.state) == ("c-2", "done")


async def test_a_failed_repetition_leaves_the_effect_to_the_earlier_call(register: EffectRegister):
    caller, call = make_caller(), make_call()
    await register.claim(caller, call, "c-1", "t")
    register.settle("c-1", "done")
    second = await register.claim(caller, call, "c-2", "t")
    assert second is not None
    await register.conclude(second, passes=True)

    register.settle("c-2", "failed")
    third = await register.claim(caller, call, "c-3", "t")
    assert third is not None
    assert third.repeats is not None
    assert (third.repeats.call, third.repeats.state) == ("c-1", "done")


async def test_after_a_kill_an_open_effect_is_unknown_until_it_is_confirmed(tmp_path: Path):
    await make_register(tmp_path).claim(make_caller(), make_call(), "c-1", "t-1")

    after = make_register(tmp_path)
    await after.begin()
    assert after.find_task("c-1") == "t-1"
    claim = await after.claim(make_caller(), make_call(), "c-2", "t-2")
    assert claim is not None
    assert claim.repeats is not None
    assert claim.repeats.state == "unknown"

    assert after.confirm("c-1", "failed")
    claim = await after.claim(make_caller(), make_call(), "c-3", "t-2")
    assert claim is not None
    assert claim.repeats is None


async def test_an_effect_is_forgotten_after_its_time(tmp_path: Path):
    await make_register(tmp_path).claim(make_caller(), make_call(), "c-1", "t")
    later = make_register(tmp_path, 1000.0 + effects.KEPT + 1)
    await later.begin()

    claim = await later.claim(make_caller(), make_call(), "c-2", "t")
    assert claim is not None
    assert claim.repeats is None


async def test_beyond_the_bound_a_new_effect_is_refused_and_a_known_one_is_known(
    register: EffectRegister, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(effects, "MOST", 1)
    await register.claim(make_caller(), make_call(), "c-1", "t")

    with pytest.raises(StoreError, match="as many as it can"):
        await register.claim(make_caller(), make_call("o-2"), "c-2", "t")
    known = await register.claim(make_caller(), make_call(), "c-3", "t")
    assert known is not None
    assert known.repeats is not None


async def test_no_value_of_an_argument_is_kept(register: EffectRegister):
    claim = await register.claim(make_caller(), make_call("secret-order"), "c-1", "t")

    assert claim is not None
    assert "secret-order" not in repr(claim)
