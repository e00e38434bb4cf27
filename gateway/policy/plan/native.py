"""The evaluator of a plan in the native core, in the place of the Python that `generator` writes. The core is an option.

The core calls the built-in functions and the comparisons of this package for all but the usual types of values.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import msgspec

from gateway.errors import PolicyBroken
from gateway.native.core import Core, Program
from gateway.policy.plan import values
from gateway.policy.plan.functions import FUNCTIONS
from gateway.policy.plan.values import Value


@dataclass(frozen=True, slots=True)
class NativePlan:
    """A plan that the core evaluates. `core` is the digest of the core: a policy is tried anew with another core."""

    plan: bytes
    core: str


def describe(core: Core, plan: bytes) -> NativePlan:
    """Return a plan with the digest of the core in use."""
    return NativePlan(plan, hashlib.sha256(Path(core.__file__).read_bytes()).hexdigest())


def load_program(core: Core, plan: bytes, data: Value) -> Program:
    """Return the evaluator of a plan with data. Raise `PolicyBroken` for a plan that the core does not take."""
    try:
        return core.Program(msgspec.json.decode(plan), data, FUNCTIONS, values)
    except Exception as error:  # noqa: BLE001 - Python evaluates a plan that the core fails on in any way
        raise PolicyBroken(
            f"the native core does not take the plan of the policy: {error}", "report this; Python evaluates the plan"
        ) from None
