"""`opagate policy compile`: the plan of own rules, made by the OPA on PATH and written beside their folder."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gateway.errors import ConfigurationError
from gateway.policy import folders
from gateway.policy.embedded import Embedded
from gateway.policy.evaluator_agreement import require_agreement
from gateway.policy.plan import compile_process, opa_build, store
from gateway.policy.plan.program import CompiledPolicy, Program
from gateway.policy.plan.store import StoredPlan
from gateway.policy.plan.values import read_json

if TYPE_CHECKING:
    from gateway.policy.bundle import Bundle
    from gateway.policy.folders import PolicyFolders

_LONG = 60.0
"""Seconds for one answer; the trial of the policy looks at its speed."""


async def write(places: PolicyFolders) -> tuple[Path, str, str]:
    """Write the plan of a policy beside its folder. Return its place, the revision of the policy and the plan's digest.

    Raise `PolicyBroken` for rules that OPA or opagate cannot compile, or that answer differently on regorus, and
    `ConfigurationError` without an OPA.
    """
    policy = folders.read_policy(places)
    stored = await _compile(places, policy)
    digest = store.digest_of(bytes(stored.plan))
    return _write_whole(store.beside(places.planned[0]), store.pack(stored)), policy.revision, digest


async def check(places: PolicyFolders) -> tuple[Path, str, str | None]:
    """Compile a policy. Return the place of its plan, the digest of the made plan, and the difference from the plan there.

    Raise as `write` does.
    """
    policy = folders.read_policy(places)
    made, place = await _compile(places, policy), store.beside(places.planned[0])
    there, digest = store.find(made.rules, [place]), store.digest_of(bytes(made.plan))
    if there is None:
        return place, digest, "there is none for these rules"
    if bytes(there.plan) == bytes(made.plan):
        return place, digest, None
    return place, digest, f"OPA {made.opa} makes another one (the file says that OPA {there.opa} made it)"


async def _compile(places: PolicyFolders, policy: Bundle) -> StoredPlan:
    if not places.planned or store.find(store.digest(policy.modules), [store.SHIPPED]) is not None:
        raise ConfigurationError("the shipped rules come compiled", "name own rules with --path or --overlay")
    found = shutil.which("opa")
    if found is None:
        raise ConfigurationError(
            "there is no `opa` on PATH", "install OPA 1.22 or newer, on this machine or where you build"
        )
    plan = opa_build.build(Path(found), policy.modules)
    program = Program(compile_process.compile_plan(plan), read_json(policy.data))
    compiled = CompiledPolicy(program, deadline=_LONG, thread_time=time.thread_time)
    await require_agreement(compiled, Embedded(policy, deadline=_LONG), policy)
    return StoredPlan(store.digest(policy.modules), opa_build.version(Path(found)), msgspec.Raw(plan))


def _write_whole(place: Path, content: bytes) -> Path:
    fresh = place.with_name(f".{place.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "wb") as file:
            file.write(content)
        fresh.replace(place)
    except OSError as error:
        raise ConfigurationError(f"{place} cannot be written: {error.strerror}", "make its folder writable") from None
    return place
