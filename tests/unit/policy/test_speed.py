"""A policy that takes too long for its probes is refused, with the grant or the rule that takes the time."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import PolicyBroken
from gateway.policy import bundle, folders, speed
from gateway.policy.bundle import Bundle
from gateway.policy.embedded import Embedded
from gateway.policy.folders import PolicyFolders, find_shipped
from gateway.policy.probes import Probe
from tests import tiny_policy

LIMIT = 0.1
HEAVY = "([a-z]{{3}}|[0-9]{{4}}|[A-Z_-]{{5}}){{12}}{}"
USUAL: dict[str, Any] = {"agents": ["*"], "issuers": ["*"], "tools": ["send"]}
SLOW = """package overlay.slow

# METADATA
# title: Slow
# custom: {code: acme/slow, message: Slow., remedy: None., controls: []}
denials contains {"code": "acme/slow", "facts": []} if {
	input.resource.id == "probe/probe"
	count(_pairs) < 0
}

_pairs := {[a, b, c] |
	some a, _ in input.arguments
	some b, _ in input.arguments
	some c, _ in input.arguments
}
"""


def _with_grants(folder: Path, upstreams: dict[str, Any]) -> Bundle:
    path = folder / "grants.yaml"
    path.write_text(json.dumps({"upstreams": upstreams}), encoding="utf-8")
    return bundle.read_folder(find_shipped(), path)


def _refusal(policy: Bundle, limit: float = LIMIT) -> str:
    engine = Embedded(policy, deadline=60.0)
    try:
        speed.require(engine, policy, limit)
    except PolicyBroken as error:
        return error.message
    return ""


def test_the_shipped_policy_and_usual_grants_are_fast_enough(tmp_path: Path):
    usual = {
        f"u{upstream}": [
            {
                **USUAL,
                "id": f"g{upstream}-{index}",
                "tools": [f"t{index}"],
                "when": {"/to": {"matches": f"[a-z]+@a{index}"}},
            }
            for index in range(10)
        ]
        for upstream in range(10)
    }

    assert _refusal(bundle.read_folder(find_shipped())) == ""
    assert _refusal(_with_grants(tmp_path, usual)) == ""


@pytest.mark.parametrize("upstream", ["mail", "*"])
def test_grants_whose_expressions_take_too_long_are_refused_and_the_slowest_is_named(tmp_path: Path, upstream: str):
    light = [{**USUAL, "id": f"g{index}", "when": {"/to": {"one_of": ["a"]}}} for index in range(10)]
    heavy = [{**USUAL, "id": f"h{index}", "when": {"/to": {"matches": HEAVY.format(index)}}} for index in range(290)]

    refusal = _refusal(_with_grants(tmp_path, {"other": light, upstream: light + heavy}), 0.06)

    assert "ms of processor time for tools/call of" in refusal
    assert (
        "and may take 60 ms, half of policy.engine.deadline; it looks at 300 grants; the slowest is upstream" in refusal
    )
    assert re.search(rf"upstream '{re.escape(upstream)}', grant (1[1-9]|[2-9]\d|\d{{3}}) \(h\d+\): \d+\.\d ms", refusal)


def test_one_grant_with_many_expressions_is_refused(tmp_path: Path):
    """A call reaches the last of them only if all others hold."""
    when = {f"/a{index}": {"matches": HEAVY.format(index)} for index in range(600)}
    grants = [{**USUAL, "id": "light"}, {**USUAL, "id": "heavy", "tools": ["other"], "when": when}]

    refusal = _refusal(_with_grants(tmp_path, {"mail": grants}))

    assert "for tools/call of mail/other" in refusal
    assert "the slowest is upstream 'mail', grant 2 (heavy)" in refusal


def test_conditions_behind_one_that_holds_are_measured(tmp_path: Path):
    shared = {f"/a{index}": {"matches": f"[a-z]+{index}"} for index in range(5)}
    grants = [{**USUAL, "id": f"g{i}", "when": {**shared, "/z": {"matches": HEAVY.format(i)}}} for i in range(400)]

    assert "the slowest is upstream 'mail'" in _refusal(_with_grants(tmp_path, {"mail": grants}))


def test_expressions_count_as_if_no_call_had_compiled_them(tmp_path: Path):
    """The engine keeps some compiled; other calls displace them."""
    when = {f"/a{index}": {"matches": HEAVY.format(index)} for index in range(120)}
    policy = _with_grants(tmp_path, {"mail": [{**USUAL, "id": "g", "when": when}]})
    engine = Embedded(policy, deadline=60.0)
    clock = speed._Clock(engine)
    probe = next(item for item in speed.probes.probes(speed.probes.grants_in(json.loads(policy.data))) if item.grants)
    compiled = min(clock.once(probe) for _ in range(10))
    displaced = min(clock.displaced(probe) for _ in range(10))

    assert displaced > 1.5 * compiled


def test_a_slow_rule_is_named_with_its_place(tmp_path: Path):
    own = tiny_policy.write(tmp_path / "own", {"slow/slow.rego": SLOW})
    policy = folders.read_policy(PolicyFolders(find_shipped(), None, own))

    refusal = _refusal(policy, 0.02)

    assert "the slowest rule is data.overlay.slow._pairs (overlay/slow/slow.rego:11)" in refusal
    assert "for tools/call with many long arguments" in refusal


def test_a_rule_that_is_slow_on_an_input_without_facts_is_named(tmp_path: Path):
    """The gateway asks the fixtures on its event loop, so the trial times them too."""
    pairs = "{[i, j] | some i, _ in _many; some j, _ in _many}"
    slow = SLOW.partition("denials contains")[0] + (
        'denials contains {"code": "acme/slow", "facts": []} if {\n\tnot input.resource\n\tcount(_pairs) < 0\n}\n'
        f'\n_pairs := {pairs}\n\n_many := split("{"x" * 500}", "")\n'
    )
    own = tiny_policy.write(tmp_path / "own", {"slow/slow.rego": slow})

    refusal = _refusal(folders.read_policy(PolicyFolders(find_shipped(), None, own)), 0.04)

    assert "for a call on an empty input" in refusal
    assert "the slowest rule is data.overlay.slow._pairs (overlay/slow/slow.rego:11)" in refusal


def test_a_question_about_leases_that_takes_too_long_is_refused(tmp_path: Path):
    """A new revision asks about each task with leases, in the event loop too."""
    policy = tmp_path / "policy"
    shutil.copytree(find_shipped(), policy, ignore=shutil.ignore_patterns("*_test.rego"))
    leases = policy / "gateway/leases/leases.rego"
    pairs = "_pairs := {[i, j] | some i, _ in _many; some j, _ in _many}"
    slow = f'{pairs}\n\n_many := split("{"x" * 500}", "")\n'
    text = leases.read_text("utf-8")
    leases.write_text(
        text.replace("\tinput.version == 1\n", "\tcount(_pairs) > 1\n\tinput.version == 1\n", 1) + slow, "utf-8"
    )

    refusal = _refusal(folders.read_policy(PolicyFolders(policy, None, None)), 0.04)

    assert "for a question about leases" in refusal
    assert "the slowest rule is data.gateway.leases._pairs" in refusal


def test_a_list_that_takes_too_long_is_refused(tmp_path: Path):
    grants = [{**USUAL, "id": f"g{index}", "tools": [f"t{index}*"]} for index in range(300)]

    assert "it looks at 300 grants" in _refusal(_with_grants(tmp_path, {"mail": grants}), 0.03)


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> Callable[[Iterator[float]], None]:
    """Have each answer take so many seconds, one after the other."""

    def taking(seconds: Iterator[float]) -> None:
        def once(_: object, __: Probe) -> float:
            return next(seconds)

        monkeypatch.setattr(speed._Clock, "once", once)

    return taking


def test_a_run_that_the_machine_held_up_is_no_refusal(timed: Callable[[Iterator[float]], None]):
    timed(itertools.chain([3 * LIMIT, 2 * LIMIT, 0.5 * LIMIT, 1.5 * LIMIT], itertools.repeat(0.0)))

    assert _refusal(bundle.read_folder(find_shipped())) == ""


def test_the_best_of_the_runs_counts(timed: Callable[[Iterator[float]], None]):
    timed(itertools.cycle([3 * LIMIT, 2 * LIMIT, 1.01 * LIMIT, 1.5 * LIMIT]))

    assert "takes 101 ms" in _refusal(bundle.read_folder(find_shipped()))


def test_a_run_that_takes_many_times_as_long_is_enough(timed: Callable[[Iterator[float]], None]):
    timed(itertools.chain([10 * LIMIT], itertools.repeat(0.0)))

    assert "takes 1000 ms" in _refusal(bundle.read_folder(find_shipped()))


def test_an_answer_that_would_refuse_every_call_is_found(tmp_path: Path):
    own = 'package overlay.x\n\nobligations contains {"id": "limit", "properties": {"max_bytes": -1}}\n'
    folder = tiny_policy.write(tmp_path / "own", {"x/x.rego": own})
    (tmp_path / "grants.yaml").write_text(json.dumps({"upstreams": {"mail": [{**USUAL, "id": "g"}]}}), encoding="utf-8")

    assert "for tools/call of mail/send, " in _refusal(
        folders.read_policy(PolicyFolders(find_shipped(), tmp_path / "grants.yaml", folder))
    )


def test_an_expression_that_the_engine_does_not_take_is_named(tmp_path: Path):
    grants = [{**USUAL, "id": "good", "when": {"/to": {"matches": "a"}}}]
    assert speed.refused_expression(_with_grants(tmp_path, {"mail": grants})) == ""

    grants.append({**USUAL, "id": "bad", "when": {"/to": {"matches": "([a-z]{30}|[0-9]{40}|[A-Z_-]{50}){20}"}}})
    found = speed.refused_expression(_with_grants(tmp_path, {"mail": grants}))
    assert found.startswith("upstream 'mail', grant 2 (bad): when /to: compiled regex exceeded size limit")
