"""`opagate policy compile`: the plan of own rules, made by the OPA on PATH and written beside their folder."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from gateway import keys
from gateway.errors import ConfigurationError
from gateway.key_files import KeyFile
from gateway.policy import folders
from gateway.policy.embedded import Embedded
from gateway.policy.evaluator_agreement import require_agreement
from gateway.policy.plan import compile_process, opa_build, signatures, store
from gateway.policy.plan.program import CompiledPolicy, Program
from gateway.policy.plan.signatures import PlanTrust, UntrustedPlan
from gateway.policy.plan.store import StoredPlan
from gateway.policy.plan.values import read_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.config import Configuration
    from gateway.policy.bundle import Bundle
    from gateway.policy.folders import PolicyFolders

_LONG = 60.0
"""Seconds for one answer; the trial of the policy looks at its speed."""


def signing_key(path: Path) -> Ed25519PrivateKey:
    """Return the private key in a file, and make a key first if the file is missing. Raise `ConfigurationError`."""
    pem = KeyFile(path, "the key of compiled policies", ConfigurationError).load(_make_key)
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationError(
            f"{path} is no Ed25519 private key in PEM, without a password", "name a new file, and a key is made there"
        )
    return key


def _make_key() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def marker(key: Path | None, configuration: Configuration | None) -> Callable[[bytes], bytes]:
    """Return the function that marks a plan: by a key, or else by the gateway of a configuration.

    Raise `ConfigurationError` without either.
    """
    if key is not None:
        return partial(signatures.sign, key=signing_key(key))
    own = None if configuration is None else keys.read_plans(configuration)
    if own is None:
        raise ConfigurationError(
            "no gateway takes a compiled policy without a mark, and there is no key for one",
            "name a file for a key with --sign, or run this where the gateway has started, with its --config",
        )
    return partial(signatures.authenticate, own=own)


def public_key(path: Path) -> str:
    """Return the public half of a key, as `policy.plan_keys` has it."""
    return signatures.public_text(signing_key(path))


def trust(key: Path | None, configuration: Configuration | None) -> PlanTrust:
    """Return the marks that count for a check: of a key, and of the gateway of a configuration."""
    own = None if configuration is None else keys.read_plans(configuration)
    known = () if configuration is None else configuration.policy.plan_keys
    return PlanTrust(own, known if key is None else (*known, public_key(key)))


async def write(places: PolicyFolders, mark: Callable[[bytes], bytes]) -> tuple[Path, str, str]:
    """Write the marked plan of a policy beside its folder. Return its place, the policy's revision and the plan's digest.

    Raise `PolicyBroken` for rules that OPA or opagate cannot compile, or that answer differently on regorus, and
    `ConfigurationError` without an OPA.
    """
    policy = folders.read_policy(places)
    stored = await _compile(places, policy)
    digest = store.digest_of(bytes(stored.plan))
    return _write_whole(store.beside(places.planned[0]), mark(store.pack(stored))), policy.revision, digest


async def check(places: PolicyFolders, trust: PlanTrust) -> tuple[Path, str, str | None]:
    """Compile a policy. Return the place of its plan, the digest of the made plan, and the difference from the plan there.

    Raise as `write` does.
    """
    policy = folders.read_policy(places)
    made, place = await _compile(places, policy), store.beside(places.planned[0])
    digest = store.digest_of(bytes(made.plan))
    try:
        there = store.find(made.rules, place, trust)
    except UntrustedPlan as error:
        return place, digest, f"it {error}"
    if there is None:
        return place, digest, "there is none for these rules"
    if bytes(there.plan) == bytes(made.plan):
        return place, digest, None
    return place, digest, f"OPA {made.opa} makes another one (the file says that OPA {there.opa} made it)"


async def _compile(places: PolicyFolders, policy: Bundle) -> StoredPlan:
    if not places.planned or store.digest(policy.modules) == store.read_shipped().rules:
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
