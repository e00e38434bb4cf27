"""The register of effects: who has an effect first, and what becomes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

import pytest

from gateway.authority import effects
from gateway.authority.effects import EffectRegister
from gateway.model.call import Call
from gateway.model.caller import AuthMethod, Principal, User
from gateway.model.errors import StoreError
from gateway.model.target import Confirmation, Labels, Target
from tests.unit.base.store.keeping import edit, sealed_store

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.model.wire import Json

KEY = b"e" * 32


def make_register(folder: Path, now: float = 1000.0) -> EffectRegister:
    return EffectRegister(sealed_store(folder, clock=lambda: now), KEY, lambda: now)


def make_caller(agent: str = "clerk", user: str | None = "ann") -> Principal:
    return Principal(agent, "idp", AuthMethod.JWT, user=None if user is None else User(user))


def make_call(order: object = "o-1", upstream: str = "payments", audience: str = "bank") -> Call:
    target = Target("tool", upstream, "pay", audience, labels=Labels(effect_key=("/order",)))
    return Call("tools/call", target, {"order": cast("Json", order)})


def make_reading(order: str = "o-1") -> Call:
    """Return a call of the tool that confirms payments."""
    labels = Labels(confirms=Confirmation("pay", "/order"))
    return Call("tools/call", Target("tool", "payments", "find", "bank", labels=labels), {"order": order})


@pytest.fixture
def register(tmp_path: Path) -> EffectRegister:
    return make_register(tmp_path)


@pytest.mark.parametrize(
    ("caller", "call", "is_same"),
    [
        (make_caller("other-agent"), make_call(), True),
        (make_caller(), make_call(upstream="payments-too"), True),
        (make_caller(user="ANN "), make_call(), True),
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


class Gateways:
    """The gateways on the same records that have not ended."""

    def __init__(self, name: str, living: set[str]) -> None:
        self.id = name
        self.living = living
        living.add(name)

    async def list_living(self) -> frozenset[str]:
        return frozenset(self.living)


async def test_a_start_beside_other_gateways_leaves_their_open_effects_open(tmp_path: Path):
    living = set[str]()
    store = sealed_store(tmp_path, clock=lambda: 1000.0)
    one, other = (EffectRegister(store, KEY, lambda: 1000.0, Gateways(name, living)) for name in ("a", "b"))
    await one.begin()
    assert await one.claim(make_caller(), make_call(), "c-1", "t-1") is not None

    await other.begin()
    again = await other.claim(make_caller(), make_call(), "c-2", "t-2")
    assert again is not None
    assert again.repeats is not None
    assert again.repeats.state == "open"
    assert not other.confirm("c-1", "failed"), "it is under way"

    living.discard("a")
    await other.look()
    again = await other.claim(make_caller(), make_call(), "c-3", "t-2")
    assert again is not None
    assert again.repeats is not None
    assert again.repeats.state == "unknown"
    assert other.confirm("c-1", "failed")


async def test_a_person_settles_the_unknown_call_of_a_gateway_beside(tmp_path: Path):
    living = set[str]()
    store = sealed_store(tmp_path, clock=lambda: 1000.0)
    one, other = (EffectRegister(store, KEY, lambda: 1000.0, Gateways(name, living)) for name in ("a", "b"))
    await one.begin()
    await other.begin()
    assert await one.claim(make_caller(), make_call(), "c-1", "t-1") is not None
    one.settle("c-1", "unknown")
    await one.close()

    await other.learn()
    assert other.find_task("c-1") == "t-1"
    assert other.confirm("c-1", "done")


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


async def test_a_caller_with_too_many_effects_is_named_and_leaves_room_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(effects, "MOST_OF_ONE", 2)
    register = make_register(tmp_path)
    for number in range(2):
        await register.claim(make_caller(), make_call(f"o-{number}"), f"c-{number}", "t")

    for kept in (register, make_register(tmp_path)):
        if kept is not register:
            await kept.begin()
        with pytest.raises(StoreError, match="the user ann has 2 effects"):
            await kept.claim(make_caller("another-agent"), make_call("o-8"), "c-8", "t")
        known = await kept.claim(make_caller(), make_call("o-1"), "c-9", "t")
        assert known is not None
        assert known.repeats is not None

    assert await register.claim(make_caller(user="bob"), make_call("o-8"), "c-10", "t") is not None
    register.settle("c-0", "failed")
    await register.close()
    assert await register.claim(make_caller(), make_call("o-8"), "c-11", "t") is not None


async def test_effects_that_are_forgotten_take_no_part_of_the_share_of_a_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(effects, "MOST_OF_ONE", 1)
    await make_register(tmp_path).claim(make_caller(), make_call(), "c-1", "t")
    later = make_register(tmp_path, 1000.0 + effects.KEPT + 1)
    await later.begin()
    await later.sweep()

    assert await later.claim(make_caller(), make_call("o-2"), "c-2", "t") is not None


async def test_no_value_of_an_argument_is_kept(register: EffectRegister):
    claim = await register.claim(make_caller(), make_call("secret-order"), "c-1", "t")

    assert claim is not None
    assert "secret-order" not in repr(claim)


@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [
        ("1" * 40 + "1", "1" * 40 + "2", False),
        ("0.1" + "0" * 40 + "1", "0.1", False),
        ("0012.50", "12.5", True),
        ("-0.0", 0, True),
        ("-7", "7", False),
        (1e22, "1" + "0" * 22, True),
        (1e-7, "0.0000001", True),
        (True, "true", True),
        (["a", {"b": 1}], '["A", {"b": "1.0"}]', True),
        ({"id": "a", "note": None}, {"id": "a"}, True),
        ({"id": "a"}, {"id": "b"}, False),
        ('["a"', '["b"', False),
    ],
)
async def test_forms_of_one_value_are_one_effect_and_other_values_are_another(
    register: EffectRegister, first: object, second: object, *, is_same: bool
):
    await register.claim(make_caller(), make_call(first), "c-1", "t")
    claim = await register.claim(make_caller(), make_call(second), "c-2", "t")

    assert claim is not None
    assert (claim.repeats is not None) is is_same


@pytest.mark.parametrize("text", ['{"a":' * 900 + "1" + "}" * 900, "[" * 5_000, '["' + "[" * 900 + "]" * 900 + '"]'])
async def test_a_deep_text_is_compared_as_a_text(register: EffectRegister, text: str):
    await register.claim(make_caller(), make_call(text), "c-1", "t")

    claim = await register.claim(make_caller(), make_call(text), "c-2", "t")
    assert claim is not None
    assert claim.repeats is not None


async def test_null_is_no_value(register: EffectRegister):
    assert await register.claim(make_caller(), make_call(None), "c-1", "t") is None


@pytest.mark.parametrize(
    ("result", "is_shown"),
    [
        (b'{"content": []}', False),
        (b'{"content": [{"type": "text", "text": "no payment for o-1"}]}', False),
        (b'{"structuredContent": {"order": "O-1", "state": "paid"}}', True),
        (b'{"content": [{"type": "text", "text": "{\\"order\\": \\"o-1\\"}"}]}', True),
        (b"[" * 100_000, False),
    ],
)
async def test_an_answer_without_the_value_that_was_asked_for_shows_nothing(
    register: EffectRegister, result: bytes, *, is_shown: bool
):
    await register.claim(make_caller(), make_call(), "c-1", "t")
    register.settle("c-1", "unknown")

    assert bool(register.find_shown(make_caller(), make_reading(), result)) is is_shown
    assert register.find_shown(make_caller(user="bob"), make_reading(), result) == []


@pytest.mark.parametrize(
    ("result", "is_shown"),
    [
        (b'{"content": [{"type": "text", "text": "A payment of 10 for o-1 is done."}]}', False),
        (b'{"content": [{"type": "text", "text": "no payment of 10 for o-1"}]}', False),
        (b'{"content": [{"type": "text", "text": "10"}]}', True),
        (b'{"content": [{"type": "text", "text": "{\\"order\\": \\"o-1\\", \\"amount\\": 10}"}]}', True),
        (b'{"structuredContent": {"payments": [{"order": "o-1", "amount": "10.00"}]}}', True),
        (b'{"structuredContent": {"order": "o-1", "page": 10}}', False),
        (b'{"structuredContent": {"note": "amount: 10"}}', False),
        (b'{"structuredContent": {"amount": 100}}', False),
    ],
)
async def test_a_whole_value_confirms_a_call_and_a_sentence_does_not(
    register: EffectRegister, result: bytes, *, is_shown: bool
):
    labels = Labels(effect_key=("/order", "/amount"))
    pay = Call("tools/call", Target("tool", "payments", "pay", "bank", labels=labels), {"order": "o-1", "amount": 10})
    await register.claim(make_caller(), pay, "c-1", "t")
    register.settle("c-1", "unknown")

    assert bool(register.find_shown(make_caller(), make_reading(), result)) is is_shown


async def test_another_system_confirms_no_call(register: EffectRegister):
    await register.claim(make_caller(), make_call(), "c-1", "t")
    register.settle("c-1", "unknown")
    labels = Labels(confirms=Confirmation("pay", "/order"))
    forger = Target("tool", "payments", "find", "forged-bank", trust="untrusted", labels=labels)

    result = b'{"structuredContent": {"order": "o-1"}}'
    assert register.find_shown(make_caller(), Call("tools/call", forger, {"order": "o-1"}), result) == []


@pytest.mark.parametrize("is_repeated", [False, True])
async def test_a_person_settles_an_effect_whose_end_the_disk_did_not_take(tmp_path: Path, *, is_repeated: bool):
    register, caller, call = make_register(tmp_path), make_caller(), make_call()
    await register.claim(caller, call, "c-0", "t")
    if is_repeated:
        register.settle("c-0", "unknown")
        second = await register.claim(caller, call, "c-1", "t")
        assert second is not None
        await register.conclude(second, passes=True)
    last = "c-1" if is_repeated else "c-0"
    for change in ("delete", "insert", "update"):
        edit(
            tmp_path, f"create trigger full_{change} before {change} on records begin select raise(abort, 'full'); end"
        )

    register.settle(last, "failed")
    await register.close()
    for change in ("delete", "insert", "update"):
        edit(tmp_path, f"drop trigger full_{change}")
    refused = await register.claim(caller, call, "c-2", "t")
    assert refused is not None
    assert refused.repeats is not None
    assert refused.repeats.call == last

    assert register.confirm(last, "failed")
    claim = await register.claim(caller, call, "c-3", "t")
    assert claim is not None
    assert claim.repeats is None


@pytest.mark.parametrize(("end", "state"), [("done", "done"), ("failed", None)])
async def test_the_start_of_a_gateway_undoes_no_end_that_another_one_writes_meanwhile(
    tmp_path: Path, end: Literal["done", "failed"], state: str | None
):
    one, caller, call = make_register(tmp_path), make_caller(), make_call()
    store = sealed_store(tmp_path, clock=lambda: 1000.0)
    other = EffectRegister(store, KEY, lambda: 1000.0)
    await one.claim(caller, call, "c-1", "t")
    read = store.engine.list

    async def read_and_let_end(kind: str) -> Any:
        rows = await read(kind)
        one.settle("c-1", end)
        await one.close()
        return rows

    store.engine.list = read_and_let_end  # pyright: ignore[reportAttributeAccessIssue]
    await other.begin()

    later = await make_register(tmp_path).claim(caller, call, "c-2", "t")
    assert later is not None
    assert (None if later.repeats is None else later.repeats.state) == state
    assert other.find_task("c-1") is None, "its end is known"


@pytest.mark.parametrize("end", ["done", "failed"])
async def test_a_late_word_at_another_gateway_does_not_free_the_effect_of_a_later_call(
    tmp_path: Path, end: Literal["done", "failed"]
):
    one, caller, call = make_register(tmp_path), make_caller(), make_call()
    await one.claim(caller, call, "c-1", "t")
    other = make_register(tmp_path)
    await other.begin()
    one.settle("c-1", "failed")
    later = await one.claim(caller, call, "c-2", "t")
    assert later is not None
    assert later.repeats is None
    one.settle("c-2", "done")
    await one.close()

    assert other.confirm("c-1", end)
    await other.close()

    third = await other.claim(caller, call, "c-3", "t")
    assert third is not None
    assert third.repeats is not None
    assert (third.repeats.call, third.repeats.state) == ("c-2", "done")
