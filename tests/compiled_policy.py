"""Policies in their compiled form, for tests that ask rules."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, cast

from gateway.policy import authoring
from gateway.policy.folder import shadowing
from gateway.policy.folder.bundle import Bundle
from gateway.policy.opa.program import find_program
from gateway.policy.plan import compile_process, loading, store
from gateway.policy.plan.program import CompiledPolicy, Program
from gateway.policy.plan.values import read_json
from tests.machine import skip_or_fail

if TYPE_CHECKING:
    from collections.abc import Sequence


def compiled(policy: Bundle, *, is_checked: bool = True) -> CompiledPolicy:
    """Return the evaluator of a policy. Rules are compiled once; those that are not shipped need an OPA.

    Raise `PolicyBroken` for data that a gateway would refuse, unless they are not checked.
    """
    program = Program(_code(tuple(policy.modules)), read_json(policy.data))
    if is_checked:
        shadowing.require(program.rules, program.reads, policy.sources, policy.decoded_data())
    return CompiledPolicy(program, deadline=60.0, thread_time=time.thread_time)


@cache
def _code(modules: Sequence[tuple[str, str]]) -> CodeType:
    stored, _ = loading.find_plan(Bundle(tuple(modules), "{}", ""), (), loading.NO_TRUST)
    if stored is None:
        stored = authoring.compile_rules(Bundle(tuple(modules), "{}", ""), opa())
    return compile_process.compile_plan(bytes(stored.plan))


def opa() -> Path:
    """Return the OPA program, and skip the test without one."""
    found = find_program()
    if found is None:
        skip_or_fail("OPA (`make tools`)")
    return cast("Path", found)


def plan_of(policy: Bundle) -> bytes:
    """Return the plan of a policy's rules."""
    shipped = store.read_shipped()
    if shipped.rules == store.digest(policy.modules):
        return bytes(shipped.plan)
    return bytes(authoring.compile_rules(policy, opa()).plan)
