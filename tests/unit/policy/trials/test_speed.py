"""A policy that takes too long for its probes is refused, with the grant or the rule that takes the time."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.model.errors import PolicyBroken
from gateway.policy.folder import bundle, folders
from gateway.policy.folder.bundle import Bundle
from gateway.policy.folder.folders import PolicyFolders, find_shipped
from gateway.policy.trials import speed
from gateway.policy.trials.speed import Probe
from tests import effort, tiny_policy
from tests.compiled_policy import compiled

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
    try:
        speed.require(compiled(policy), policy.data, limit)
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

    assert _refusal(bundle.read_folder(find_shipped()), effort.here(LIMIT)) == ""
    assert _refusal(_with_grants(tmp_path, usual), effort.here(LIMIT)) == ""


def test_the_grants_beside_a_slow_call_are_named(tmp_path: Path):
    heavy = [{**USUAL, "id": f"h{index}", "when": {"/to": {"matches": HEAVY.format(index)}}} for index in range(300)]
    policy = compiled(_with_grants(tmp_path, {"mail": [{**USUAL, "id": "light"}, *heavy]}))
    probe = next(item for item in speed.probes(speed.grants_in(policy.program._data)) if item.grants)

    said = speed._describe_slowest(policy, probe)

    assert said.startswith("the slowest rule is at gateway/")
    assert "; it looks at 301 grants; the grant with the most conditions is upstream 'mail', grant 2 (h0)" in said


def test_a_slow_rule_is_named_with_its_place(tmp_path: Path):
    own = tiny_policy.write(tmp_path / "own", {"slow/slow.rego": SLOW})
    policy = folders.read_policy(PolicyFolders(find_shipped(), None, own))

    refusal = _refusal(policy, 0.02)

    assert "the slowest rule is at overlay/slow/slow.rego:1" in refusal
    assert "for tools/call with many long arguments" in refusal


def test_a_rule_that_is_slow_on_an_input_without_facts_is_named(tmp_path: Path):
    """The gateway asks the fixtures on its event loop, so the trial times them too."""
    pairs = "{[i, j] | some i, _ in _many; some j, _ in _many; not input.nothing}"
    slow = SLOW.partition("denials contains")[0] + (
        'denials contains {"code": "acme/slow", "facts": []} if {\n\tnot input.resource\n\tcount(_pairs) < 0\n}\n'
        f'\n_pairs := {pairs}\n\n_many := split("{"x" * 500}", "")\n'
    )
    own = tiny_policy.write(tmp_path / "own", {"slow/slow.rego": slow})

    refusal = _refusal(folders.read_policy(PolicyFolders(find_shipped(), None, own)), 0.04)

    assert "for a call on an empty input" in refusal
    assert "the slowest rule is at overlay/slow/slow.rego:1" in refusal


def test_a_question_about_leases_that_takes_too_long_is_refused(tmp_path: Path):
    """A new revision asks about each task with leases, in the event loop too."""
    policy = tmp_path / "policy"
    shutil.copytree(find_shipped(), policy, ignore=shutil.ignore_patterns("*_test.rego"))
    leases = policy / "gateway/leases/leases.rego"
    pairs = "_pairs := {[i, j] | some i, _ in _many; some j, _ in _many; not input.nothing}"
    slow = f'{pairs}\n\n_many := split("{"x" * 500}", "")\n'
    text = leases.read_text("utf-8")
    leases.write_text(
        text.replace("\tinput.version == 1\n", "\tcount(_pairs) > 1\n\tinput.version == 1\n", 1) + slow, "utf-8"
    )

    refusal = _refusal(folders.read_policy(PolicyFolders(policy, None, None)), 0.04)

    assert "for a question about leases" in refusal
    assert "the slowest rule is at gateway/leases/leases.rego:" in refusal


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> Callable[[Iterator[float]], None]:
    """Have each answer take so many seconds, one after the other."""

    def taking(seconds: Iterator[float]) -> None:
        def once(_: object, __: Probe) -> float:
            return next(seconds)

        monkeypatch.setattr(speed, "_measure_once", once)

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
