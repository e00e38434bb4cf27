"""A policy that a real OPA distributes and the gateway evaluates, with checks by OPA."""

from __future__ import annotations

import asyncio
import io
import subprocess
import tarfile
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.config import OpaEngine, PolicySettings
from gateway.model.decision import Decision
from gateway.model.errors import PolicyError
from gateway.policy.opa.client import OpaClient
from gateway.policy.opa.here import CheckResult, PolicyCheck
from gateway.policy.policy import Policy
from tests import tiny_policy

pytestmark = pytest.mark.opa

Start = Callable[..., Any]
FRIENDS = 'input.subject.id == "friend"'
ANYBODY = "input.subject.id"


class Distributed:
    """Bundles of one key, an OPA that serves one, and the file that a gateway reads."""

    def __init__(self, opa: Path, folder: Path) -> None:
        self._opa = opa
        self.folder = folder
        self.address = f"unix://{folder}/opa.sock"
        self.file = folder / "kept.tar.gz"
        self.key = self.write_key("one")

    def write_key(self, name: str) -> Path:
        made = ec.generate_private_key(ec.SECP256R1())
        none = serialization.NoEncryption()
        private, public = self.folder / f"{name}.key", self.folder / f"{name}.pem"
        pem = serialization.Encoding.PEM
        private.write_bytes(made.private_bytes(pem, serialization.PrivateFormat.PKCS8, none))
        public.write_bytes(made.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
        return public

    def build(self, rule: str, revision: str, *, key: str | None = "one", target: str = "plan") -> Path:
        """Return a bundle that allows by a rule."""
        source = tiny_policy.write(
            self.folder / f"source-{len([*self.folder.iterdir()])}",
            {
                ".manifest": '{"roots": ["gateway"]}',
                "gateway/decision/decision.rego": tiny_policy.decision(rule),
                "gateway/visibility/visibility.rego": tiny_policy.visibility("input.version == 1"),
                "gateway/words/data.json": '{"b": [1, 2.50, "\\u2028<é"], "a": {"z": null, "y": true}}',
            },
        )
        packed = source.with_suffix(".tar.gz")
        signing = ["--signing-key", f"{key}.key", "--signing-alg", "ES256"] if key else []
        entries = ["-e", "gateway/decision/result", "-e", "gateway/visibility/result"] if target == "plan" else []
        words = [
            "build",
            "-b",
            str(source),
            "-t",
            target,
            "--revision",
            revision,
            "-o",
            str(packed),
            *entries,
            *signing,
        ]
        subprocess.run([self._opa, *words], cwd=self.folder, check=True, capture_output=True)
        return packed

    def keep(self, packed: Path) -> None:
        """Put a bundle where OPA keeps it, as OPA does: under another name first."""
        fresh = self.folder / "fresh"
        fresh.write_bytes(packed.read_bytes())
        fresh.replace(self.file)

    def settings(self, **more: Any) -> PolicySettings:
        engine: dict[str, Any] = {"kind": "opa", "url": self.address, "deadline": "5s", "evaluate": "here"}
        engine |= {"bundle": self.file, "bundle_key": self.key, **more}
        return PolicySettings.model_validate({"engine": engine, "reload": "10h"})

    @asynccontextmanager
    async def gateway(self, **more: Any) -> AsyncGenerator[tuple[Policy, list[CheckResult]]]:
        """Give a policy that is in force, and the results of its checks."""
        checks: list[CheckResult] = []

        def note(check: PolicyCheck) -> None:
            checks.append(check.result)

        policy = Policy.build(
            self.settings(**more), supported=frozenset(), clock=lambda: 0.0, is_for_calls=False, on_check=note
        )
        await policy.start()
        try:
            yield policy, checks
        finally:
            await policy.stop()


@pytest.fixture
def distributed(opa_path: Path, tmp_path: Path) -> Distributed:
    folder = tmp_path / "here"
    folder.mkdir()
    return Distributed(opa_path, folder)


@pytest.fixture
async def serve(distributed: Distributed, start: Start) -> Callable[[Path], Any]:
    async def run(packed: Path) -> Any:
        verifying = ("--verification-key", distributed.key, "--signing-alg", "ES256")
        opa = start(distributed.address, "--bundle", packed, *verifying)
        client = OpaClient(OpaEngine.model_validate({"kind": "opa", "url": distributed.address}))
        while opa.process.poll() is None:
            try:
                await client.require_ready()
                break
            except PolicyError:
                await asyncio.sleep(0.05)
        await client.aclose()
        assert opa.process.poll() is None
        return opa

    return run


async def _decide(policy: Policy, subject: str, times: int = 1) -> list[str]:
    document: dict[str, Any] = {"version": 1, "subject": {"id": subject}}
    decisions: list[Decision] = [await policy.decide(document) for _ in range(times)]
    return [item.effect if item.allowed else item.reasons[0].code for item in decisions]


async def _look(policy: Policy) -> bool:
    return await policy._source.look()  # pyright: ignore[reportPrivateUsage] - a look by hand, in the place of a wait


REFUSED = "tiny/default"


async def test_the_plan_decides_and_opa_checks_every_nth_decision(distributed: Distributed, serve: Any):
    packed = distributed.build(FRIENDS, "r1")
    distributed.keep(packed)
    await serve(packed)

    async with distributed.gateway(check_every=3) as (policy, checks):
        assert await _decide(policy, "friend", 4) == ["allow"] * 4
        assert await _decide(policy, "other", 5) == [REFUSED] * 5
        status = policy.status()

    assert checks == ["agreed"] * 3
    assert (status.ready, status.problem, status.revision) == (True, None, "r1")
    assert status.plan


@pytest.mark.parametrize(
    ("on_difference", "after", "friend"),
    [("ask", REFUSED, "allow"), ("refuse", "policy/unavailable", "policy/unavailable"), ("log", "allow", "allow")],
)
async def test_after_a_difference_the_stricter_answer_holds_and_the_setting_decides(
    distributed: Distributed, serve: Any, on_difference: str, after: str, friend: str
):
    distributed.keep(distributed.build(ANYBODY, "r1"))
    await serve(distributed.build(FRIENDS, "r1"))

    async with distributed.gateway(check_every=2, on_difference=on_difference) as (policy, checks):
        assert await _decide(policy, "other", 2) == ["allow", REFUSED]
        assert checks == ["differed"]
        assert "different answers" in (policy.status().problem or "")
        assert await _decide(policy, "other") == [after]
        assert await _decide(policy, "friend") == [friend]

        distributed.keep(distributed.build(FRIENDS, "r1"))
        assert await _look(policy)
        assert await _decide(policy, "other", 4) == [REFUSED] * 4
        assert (policy.status().problem, checks[-1]) == (None, "agreed")


async def test_another_revision_in_opa_is_no_difference(distributed: Distributed, serve: Any):
    distributed.keep(distributed.build(FRIENDS, "r2"))
    await serve(distributed.build(ANYBODY, "r1"))

    async with distributed.gateway(check_every=1) as (policy, checks):
        assert await _decide(policy, "other", 2) == [REFUSED] * 2
        assert checks == ["skipped"] * 2
        assert "'r1'" in (policy.status().problem or "")


async def test_without_opa_the_gateway_goes_on_and_says_so(distributed: Distributed, serve: Any):
    packed = distributed.build(FRIENDS, "r1")
    distributed.keep(packed)
    opa = await serve(packed)

    async with distributed.gateway(check_every=1) as (policy, checks):
        opa.kill()
        assert await _decide(policy, "friend") == ["allow"]
        assert checks == ["failed"]
        await _look(policy)
        assert policy.status().ready
        assert policy.status().problem


async def test_a_bundle_is_tried_in_a_process_before_it_decides(distributed: Distributed, serve: Any):
    packed = distributed.build(FRIENDS, "r1")
    distributed.keep(packed)
    await serve(packed)
    policy = Policy.build(distributed.settings(), supported=frozenset(), clock=lambda: 0.0)
    await policy.start()
    try:
        assert await _decide(policy, "friend") == ["allow"]

        distributed.keep(distributed.build("data.gateway.words.mising == 1", "r2"))
        assert not await _look(policy)
        assert "there is no `data.gateway.words.mising`" in (policy.status().problem or "")
        assert policy.status().revision == "r1"
        assert await _decide(policy, "friend") == ["allow"]
    finally:
        await policy.stop()


def _changed(packed: Path, name: str, change: Callable[[bytes], bytes | None]) -> Path:
    """Return a bundle with another content of one file, or without the file."""
    out = packed.with_name("changed.tar.gz")
    with tarfile.open(packed) as source, tarfile.open(out, "w:gz") as target:
        for member in source:
            opened = source.extractfile(member)
            content: bytes | None = b"" if opened is None else opened.read()
            if member.name.endswith(name):
                content = change(content or b"")
            if content is not None:
                member.size = len(content)
                target.addfile(member, io.BytesIO(content))
        extra = tarfile.TarInfo("/gateway/extra/data.json")
        if name == "extra":
            target.addfile(extra, io.BytesIO())
    return out


Spoiled = Callable[[Distributed, Path], Path]


def _without(_: bytes) -> None:
    """Leave a file out."""


def _changing(name: str, change: Callable[[bytes], bytes | None]) -> Spoiled:
    return lambda _, packed: _changed(packed, name, change)


def _of_another_key(distributed: Distributed, _: Path) -> Path:
    distributed.write_key("two")
    return distributed.build(ANYBODY, "r2", key="two")


SPOILED: dict[str, tuple[Spoiled, str]] = {
    "plan": (_changing("plan.json", lambda content: content + b" "), "plan.json"),
    "no plan": (_changing("plan.json", _without), "other files"),
    "rule": (_changing("decision.rego", lambda content: content + b"\n# more"), "decision.rego"),
    "manifest": (_changing(".manifest", lambda content: content.replace(b"r1", b"r2")), ".manifest"),
    "data": (_changing("data.json", lambda content: content.replace(b"2.5", b"3.5")), "data.json"),
    "no signature": (_changing(".signatures.json", _without), "not signed"),
    "more": (_changing("extra", _without), "other files"),
    "other key": (_of_another_key, "not one of policy.engine.bundle_key"),
    "unsigned": (lambda distributed, _: distributed.build(ANYBODY, "r2", key=None), "not signed"),
    "rego": (lambda distributed, _: distributed.build(ANYBODY, "r2", target="rego"), "has no plan"),
    "no bundle": (lambda distributed, _: distributed.key, "cannot be read"),
}
"""Bundles that are not as they were signed, each with a part of the words for it."""


@pytest.mark.parametrize("name", SPOILED)
async def test_a_bundle_that_was_not_signed_so_never_comes_into_force(distributed: Distributed, serve: Any, name: str):
    spoil, told = SPOILED[name]
    packed = distributed.build(FRIENDS, "r1")
    distributed.keep(spoil(distributed, packed))
    await serve(packed)

    async with distributed.gateway(check_every=1000) as (policy, _):
        assert await _decide(policy, "friend") == ["policy/unavailable"]
        assert told in (policy.status().problem or "")

        distributed.keep(packed)
        assert await _look(policy)
        assert await _decide(policy, "friend") == ["allow"]

        distributed.keep(spoil(distributed, packed))
        assert not await _look(policy)
        assert await _decide(policy, "friend") == ["allow"]
        assert told in (policy.status().problem or "")


@pytest.mark.parametrize(
    "engine",
    [
        {"evaluate": "here"},
        {"evaluate": "here", "bundle": "/a"},
        {"bundle": "/a"},
        {"evaluate": "here", "bundle": "/a", "bundle_key": "/b", "check_every": 0},
    ],
)
def test_a_setting_without_its_other_half_is_refused(engine: dict[str, Any]):
    with pytest.raises(ValueError, match=r"bundle|check_every"):
        OpaEngine.model_validate({"kind": "opa", "url": "unix:///opa.sock", **engine})
