from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from benchmarks.credentials.examples import example
from gateway.inspection.credentials import ruleset
from gateway.inspection.credentials.detect import Detector
from gateway.inspection.credentials.fingerprint import Fingerprints

RULES = ruleset.load()


@pytest.fixture(scope="session")
def rules() -> ruleset.Ruleset:
    return RULES


@pytest.fixture(scope="session")
def fingerprints() -> Fingerprints:
    return Fingerprints(b"a key of one deployment, 32 byte")


@pytest.fixture(scope="session")
def detector(rules: ruleset.Ruleset, fingerprints: Fingerprints) -> Detector:
    return Detector(rules, fingerprints)


@pytest.fixture(scope="session")
def make(rules: ruleset.Ruleset) -> Callable[[str, int], str]:
    """A fresh value for a rule, from a seed."""
    grammars = {rule.id: rule.example for rule in rules.rules}
    return lambda rule, seed=1: example(grammars[rule], Random(seed))
