from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.policy import verdict
from gateway.policy.folder import bundle
from gateway.policy.grants import INDEX
from gateway.policy.opa import contents as opa_contents
from gateway.policy.opa.contents import Difference, HeldModule
from tests.unit.policy.conftest import Tree


def _held(name: str, text: str, *rules: str, package: str = "gateway.decision") -> HeldModule:
    path = tuple(package.split("."))
    return HeldModule(name, text, path, frozenset((*path, *rule.split(".")) for rule in rules))


def _ref(*parts: str | dict[str, Any]) -> list[dict[str, Any]]:
    return [
        part if isinstance(part, dict) else {"type": "var" if index == 0 else "string", "value": part}
        for index, part in enumerate(parts)
    ]


def test_a_module_is_read_with_the_written_part_of_each_rule():
    rules = [{"head": {"ref": _ref("a", "b", {"type": "var", "value": "x"}, "c")}}, {"head": {"name": "old"}}]
    module = {"id": "m.rego", "raw": "text", "ast": {"package": {"path": _ref("data", "p", "q")}, "rules": rules}}

    (found,) = opa_contents.read_modules(json.dumps({"result": [module]}).encode())

    assert found == HeldModule("m.rego", "text", ("p", "q"), frozenset({("p", "q", "a", "b"), ("p", "q", "old")}))


def test_facts_may_be_missing_and_never_be_others(tree: Tree):
    policy = bundle.read_folder(tree({"gateway/facts.yaml": "facts: {calls_of_task: {count: calls, by: [task]}}\n"}))
    held = [_held(name, text, "granted", package="gateway.grants") for name, text in policy.modules]
    found = opa_contents.pieces(policy.decoded_data(), held)
    facts = ("gateway", "facts")
    without = {path: value for path, value in found.items() if path != facts}

    assert opa_contents.compare(policy, held, found).data == ()
    assert opa_contents.compare(policy, held, without).data == ()
    assert opa_contents.compare(policy, held, without | {facts: verdict.UNDEFINED}).data == ()
    other: dict[opa_contents.Path, object] = {**without, facts: {"x": 1}}
    assert opa_contents.compare(policy, held, other).data == ("gateway/facts",)


@pytest.mark.parametrize(
    ("manifest", "roots"),
    [
        ('{"roots": ["gateway", "system/log"]}', ("gateway", "system/log")),
        ('{"roots": [""]}', ("gateway",)),
        ("", ("gateway",)),
    ],
)
def test_a_policy_without_roots_owns_the_tops_of_its_packages_and_data(
    tree: Tree, manifest: str, roots: tuple[str, ...]
):
    assert opa_contents.owned_roots(bundle.read_folder(tree({".manifest": manifest}))) == roots


def test_data_at_the_top_of_a_policy_without_roots_is_owned(tree: Tree):
    found = bundle.read_folder(tree({"data.json": '{"more": {"x": 1}}'}))

    assert opa_contents.owned_roots(found) == ("gateway", "more")


def test_modules_are_compared_by_their_texts_whatever_their_ids(tree: Tree):
    policy = bundle.read_folder(tree({"gateway/decision/decision_test.rego": "package gateway.decision_test\n"}))
    held = [_held(f"/somewhere/{name}", text) for name, text in (*policy.modules, *policy.tests)]

    found = opa_contents.pieces(policy.decoded_data(), held)
    assert not opa_contents.compare(policy, held, found)
    assert opa_contents.compare(policy, held[1:], found).missing == ("gateway/decision/decision.rego",)
    assert opa_contents.compare(policy, held, {}).data == ("gateway",)


@pytest.mark.parametrize(
    ("module", "is_foreign"),
    [
        (_held("x", "other", package="gateway.decision"), True),
        (_held("x", "other", "gateway.decision.result", package="top"), False),
        (HeldModule("x", "other", (), frozenset({("gateway", "decision", "result")})), True),
        (_held("x", "other", package="gatewayx.decision"), False),
        (_held("x", "other", package="system.authz"), False),
    ],
)
def test_a_module_in_a_package_of_the_policy_is_foreign_also_by_its_rules(
    tree: Tree, module: HeldModule, *, is_foreign: bool
):
    policy = bundle.read_folder(tree({}))
    held = [_held(name, text) for name, text in policy.modules]

    assert opa_contents.compare(policy, [*held, module], {}).foreign == (("x",) if is_foreign else ())


def test_data_are_taken_apart_where_opa_has_rules_below():
    data: dict[str, Any] = {"gateway": {"grants": {"upstreams": {"a": {"b": 1}}, "x": []}, "plain": {"k": {"l": 2}}}}
    held = [_held("m", "t", "problems.found", package="gateway.grants")]

    assert opa_contents.pieces(data, held) == {
        ("gateway", "grants", "upstreams"): {"a": {"b": 1}},
        ("gateway", "grants", "x"): [],
        ("gateway", "plain"): {"k": {"l": 2}},
    }


def test_an_index_of_grants_may_be_missing_and_never_be_of_other_grants(tree: Tree):
    grants = "upstreams:\n  files:\n" + "    - {agents: [a], tools: [t]}\n" * 8
    policy = bundle.read_folder(tree({"gateway/grants/data.yaml": grants}))
    held = [_held(name, text, "granted", package="gateway.grants") for name, text in policy.modules]
    found = opa_contents.pieces(policy.decoded_data(), held)
    assert found[INDEX]

    without = {path: value for path, value in found.items() if path != INDEX}
    other = without | {INDEX: {"files": {"count": 8}}}

    assert opa_contents.compare(policy, held, found).data == ()
    assert opa_contents.compare(policy, held, without).data == ()
    assert opa_contents.compare(policy, held, other).data == ("gateway/grants/index",)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"a": [1, 2.0]}, {"a": [1.0, 2]}, True),
        ({"a": 1}, {"a": True}, False),
        ({"a": 0}, {"a": None}, False),
        ([1], [1, 2], False),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ([], {}, False),
        ("1", 1, False),
    ],
)
def test_values_are_the_same_if_json_has_them_so(one: object, other: object, *, same: bool):
    assert opa_contents.is_same(one, other) is same
    assert opa_contents.is_same(other, one) is same


def test_a_difference_says_the_first_and_counts_the_others():
    found = Difference(("a.rego",), ("b.rego",), ("gateway/grants/upstreams",))

    assert found.sentence() == "a.rego is not in OPA as it is in the folder (and 1 more)"
    assert Difference(foreign=("b", "c")).sentence() == "OPA has b, which the policy does not have (and 1 more)"
    assert Difference(data=("gateway/x",)).sentence() == "data.gateway.x has another value in OPA"
    assert not Difference()


def test_a_digest_depends_on_texts_alone():
    one, two = _held("a", "x"), _held("b", "y")

    assert opa_contents.digest([one, two]) == opa_contents.digest([_held("c", "y"), _held("d", "x")])
    assert opa_contents.digest([one]) != opa_contents.digest([two])


def test_the_shipped_policy_has_roots_of_its_own():
    policy = bundle.read_folder(Path(__file__).resolve().parents[4] / "rego")

    assert opa_contents.owned_roots(policy) == ("gateway", "system/log")
