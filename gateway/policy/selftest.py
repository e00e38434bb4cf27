"""The `test_*` rules of a policy, run in the embedded engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gateway.policy import embedded, shadowing, syntax, verdict
from gateway.policy.bundle import Bundle
from gateway.policy.engine import Engine


@dataclass(frozen=True, slots=True)
class Suite:
    """Tests to run on a policy: the tests in files whose names begin with `below`."""

    policy: Bundle
    below: str = ""


@dataclass(frozen=True, slots=True)
class PolicyTest:
    """One `test_*` rule and its outcome. `place` is its file and line; `detail` says why it did not pass."""

    name: str
    place: str
    passed: bool
    detail: str = ""


def run(suite: Suite, starting: Callable[[str, str], object] = lambda _name, _place: None) -> Iterator[PolicyTest]:
    """Run tests, each on its own, in order of their files. Raise `PolicyBroken` if the policy or a test cannot be read.

    `starting` is called with the name and the place of each test before it runs.
    """
    policy = suite.policy
    modules = embedded.parse((*policy.modules, *policy.tests))
    # Data in the place of a test, or of a rule that tests share, would make any test pass.
    syntax.require(shadowing.problems(modules, policy.sources))
    engine = embedded.loaded((*policy.modules, *policy.tests), policy.data)
    files = {name for name, _ in policy.tests if name.startswith(suite.below)}
    found = (rule for module in modules if module.file in files for rule in syntax.rules(module))
    seen: set[tuple[str, ...]] = set()
    for rule in found:
        if rule.path[-1].startswith("test_") and rule.path not in seen:
            seen.add(rule.path)
            starting(".".join(rule.path[1:]), rule.place)
            yield _run(engine, ".".join(rule.path), rule.place)


def _run(engine: Engine, rule: str, place: str) -> PolicyTest:
    name = rule.removeprefix("data.")
    answer, failure = embedded.value(engine, rule)
    if failure or answer == verdict.UNDEFINED:
        return PolicyTest(name, place, passed=False, detail=failure or "it has no value")
    return PolicyTest(name, place, passed=answer is True, detail="" if answer is True else "it is not true")
