from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from gateway.model.errors import PolicyUnavailable
from gateway.policy import verdict
from gateway.policy.folder import bundle
from gateway.policy.folder.folders import PolicyFolders
from gateway.policy.opa.client import Held, OpaClient
from gateway.policy.opa.contents import HeldModule, Pushed
from gateway.policy.opa.remote import Agreement
from tests.unit.clock import Clock
from tests.unit.policy.conftest import GRANTS, Tree

BUNDLED = Held("", frozenset({"/policy"}))


class _Server:
    """An OPA that holds a policy folder as it was."""

    def __init__(self, folder: Path) -> None:
        self.listed = 0
        self.away = False
        self.load(folder)

    def load(self, folder: Path) -> None:
        policy = bundle.read_folder(folder)
        rules = frozenset({("gateway", "grants", "problems")})
        self.held = tuple(HeldModule(f"/x/{name}", text, ("gateway",), rules) for name, text in policy.modules)
        self.data: dict[str, Any] = policy.decoded_data()

    async def modules(self) -> tuple[HeldModule, ...]:
        if self.away:
            raise PolicyUnavailable("OPA is away", "start it")
        self.listed += 1
        return self.held

    async def value(self, path: tuple[str, ...]) -> object:
        value: Any = self.data
        for part in path:
            if part not in value:
                return verdict.UNDEFINED
            value = value[part]
        return value


def _agreement(folder: Path, grants: Path | None = None) -> tuple[_Server, Agreement, Clock]:
    server, clock = _Server(folder), Clock(100.0)
    place = PolicyFolders(folder, grants)
    return server, Agreement(cast("OpaClient", server), place, grace=6.0, monotonic=clock), clock


async def test_an_opa_that_holds_the_folder_agrees_and_is_not_asked_again(tree: Tree):
    folder = tree({})
    server, agreement, clock = _agreement(folder)
    assert agreement.problem
    assert not agreement.is_reached

    for _ in range(5):
        await agreement.look(BUNDLED)
        clock.now += 100

    assert (agreement.problem, agreement.revision) == (None, bundle.read_folder(folder).revision)
    assert agreement.is_reached
    assert server.listed == 1


async def test_a_changed_folder_is_compared_until_opa_has_it(tree: Tree):
    folder = tree({})
    server, agreement, clock = _agreement(folder)
    await agreement.look(BUNDLED)
    before = agreement.revision
    tree({"gateway/grants/data.yaml": GRANTS.replace("triage", "other")})

    for now in (101.0, 103.0):
        clock.now = now
        await agreement.look(BUNDLED)
        assert (agreement.problem, agreement.revision) == (None, before)
    server.load(folder)
    await agreement.look(BUNDLED)

    assert (agreement.problem, agreement.revision) == (None, bundle.read_folder(folder).revision)
    assert agreement.revision != before


async def test_an_opa_that_does_not_take_a_change_is_a_problem_after_its_grace_and_its_revision_stays(tree: Tree):
    folder = tree({})
    server, agreement, clock = _agreement(folder)
    await agreement.look(BUNDLED)
    before = agreement.revision
    tree({"gateway/grants/data.yaml": GRANTS.replace("triage", "other")})
    await agreement.look(BUNDLED)

    clock.now += 6
    await agreement.look(BUNDLED)

    assert agreement.problem == (
        f"OPA has not taken the configured policy from {folder}: data.gateway.grants.upstreams has another value in OPA;"
        " mend the folder (`opagate policy check` has OPA's own errors), or restart OPA if the folder is right"
    )
    assert agreement.revision == before
    # It asks ever more rarely, and at once when the folder changes.
    listed = server.listed
    for _ in range(120):
        clock.now += 1
        await agreement.look(BUNDLED)
    assert 4 <= server.listed - listed <= 8
    tree({"gateway/grants/data.yaml": GRANTS})
    await agreement.look(BUNDLED)
    assert (agreement.problem, agreement.revision) == (None, before)


async def test_an_opa_with_another_policy_is_named_so(tree: Tree):
    folder = tree({})
    server, agreement, clock = _agreement(folder)
    await agreement.look(BUNDLED)
    server.held = (
        *server.held,
        HeldModule("/x/more", "package gateway.decision", ("gateway", "decision"), frozenset()),
    )
    agreement.forget()
    clock.now += 6
    await agreement.look(BUNDLED)
    clock.now += 6
    await agreement.look(BUNDLED)

    assert "OPA has /x/more, which the policy does not have" in str(agreement.problem)
    assert agreement.revision.startswith("opa+")


async def test_before_the_first_agreement_a_difference_is_told_at_once(tree: Tree, tmp_path: Path):
    folder = tree({})
    grants = tmp_path / "grants.yaml"
    grants.write_text("upstreams: {agents: [other]}\n", "utf-8")
    _, agreement, _ = _agreement(folder, grants)

    await agreement.look(Held("", frozenset()))

    assert not agreement.is_reached
    assert str(agreement.problem).endswith(
        "data.gateway.grants.upstreams has another value in OPA; run `opagate policy push`"
    )


async def test_a_push_of_another_revision_is_a_difference_though_the_contents_are_the_same(tree: Tree):
    folder = tree({})
    _, agreement, _ = _agreement(folder)

    await agreement.look(Held("old", frozenset(), Pushed("old")))
    assert "the last push was of revision old" in str(agreement.problem)

    revision = bundle.read_folder(folder).revision
    await agreement.look(Held(revision, frozenset(), Pushed(revision)))
    assert agreement.problem is None


async def test_a_folder_that_cannot_be_read_is_a_problem_until_it_can_be(tree: Tree):
    folder = tree({})
    _, agreement, _ = _agreement(folder)
    await agreement.look(BUNDLED)
    tree({"gateway/grants/data.yaml": "upstreams: {agents: [spiffe://corp/agent/triage\n"})

    await agreement.look(BUNDLED)
    assert str(agreement.problem).startswith(
        "the configured policy cannot be compared with OPA: gateway/grants/data.yaml:"
    )

    tree({"gateway/grants/data.yaml": GRANTS})
    await agreement.look(BUNDLED)
    assert agreement.problem is None


async def test_an_opa_that_goes_while_it_is_compared_is_compared_again(tree: Tree):
    server, agreement, _ = _agreement(tree({}))
    server.away = True
    with pytest.raises(PolicyUnavailable):
        await agreement.look(BUNDLED)
    server.away = False

    await agreement.look(BUNDLED)

    assert agreement.is_reached
