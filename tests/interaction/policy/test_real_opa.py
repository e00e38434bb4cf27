"""The policy phase against a real OPA that is killed, hung, slow, or holds a policy that answers badly."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ipaddress
import shutil
import socket as sockets
import time
from collections.abc import AsyncGenerator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.config import OpaEngine, PolicySettings
from gateway.model.decision import Decision
from gateway.model.errors import PolicyError
from gateway.policy import document
from gateway.policy.folder import bundle
from gateway.policy.folder.data_files import DATA_FILES, GRANTS
from gateway.policy.folder.folders import find_shipped
from gateway.policy.opa.client import OpaClient
from gateway.policy.policy import Policy
from gateway.policy.trials import load_checks
from tests import tiny_policy
from tests.compiled_policy import compiled
from tests.requirements import requirement

pytestmark = pytest.mark.opa

Start = Callable[..., Any]


def _asked(subject: str, **more: object) -> dict[str, Any]:
    return {"version": 1, "subject": {"id": subject, **more}, "resources": [{"id": "a"}]}


def _code(decision: Decision) -> str:
    assert decision.effect == "deny"
    return decision.reasons[0].code


async def _up(engine: OpaEngine) -> None:
    """Returns when OPA answers about its health, or says that it may not."""
    probe = OpaClient(engine)
    end = time.monotonic() + 30
    try:
        while True:
            try:
                await probe.require_ready()
            except PolicyError as error:
                if "status 401" in error.message:
                    return
                assert time.monotonic() < end, "OPA did not come up"
                await asyncio.sleep(0.02)
            else:
                return
    finally:
        await probe.aclose()


@contextlib.asynccontextmanager
async def _started(url: str, **options: Any) -> AsyncGenerator[Policy]:
    """A policy on that OPA, once it answers."""
    engine = OpaEngine.model_validate({"kind": "opa", "url": url, "deadline": timedelta(seconds=5), **options})
    await _up(engine)
    settings = PolicySettings(engine=engine, reload=timedelta(milliseconds=50))
    policy = Policy.build(settings, supported=frozenset(), clock=time.time)
    await policy.start()
    try:
        yield policy
    finally:
        await policy.stop()


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "opa.sock"


@pytest.fixture
def url(socket: Path, start: Start, policy: Path) -> str:
    start(f"unix://{socket}", "--bundle", policy)
    return f"unix://{socket}"


async def test_it_decides_over_a_unix_socket_and_says_which_bundle_did(url: str):
    async with _started(url) as policy:
        allowed, denied = await policy.decide(_asked("friend")), await policy.decide(_asked("stranger"))
        visible = await policy.visible(_asked("x"), frozenset({"a"}))
        status = policy.status()

    assert allowed.allowed
    assert _code(denied) == "tiny/default"
    assert visible == {"a"}
    assert (allowed.policy.name, allowed.policy.revision) == ("tiny", "r1")
    assert (status.ready, status.engine, status.name, status.problem) == (True, "opa", "tiny", None)


async def test_a_rule_that_fails_is_a_denial_and_not_an_undefined_allow(url: str):
    async with _started(url) as policy:
        decision = await policy.decide(_asked("strict", at="hunter2"))

    assert _code(decision) == "policy/unavailable"
    assert "status 500" in decision.reasons[0].message
    assert "hunter2" not in decision.reasons[0].message


async def test_an_answer_that_breaks_the_contract_is_malformed(url: str):
    async with _started(url) as policy:
        assert _code(await policy.decide(_asked("wrong"))) == "policy/malformed"


async def test_a_huge_answer_is_malformed(url: str):
    async with _started(url, deadline=timedelta(seconds=30)) as policy:
        decision = await policy.decide(_asked("huge"))

    assert _code(decision) == "policy/malformed"
    assert "larger than" in decision.reasons[0].message


async def test_a_slow_policy_is_late_and_the_next_call_is_served(url: str):
    async with _started(url) as policy:
        hasty = OpaClient(OpaEngine(kind="opa", url=url, deadline=timedelta(milliseconds=50)))
        with pytest.raises(PolicyError) as raised:
            await hasty.evaluate("decision", document.encode(_asked("slow")))
        await hasty.aclose()

        assert raised.value.code == "policy/late"
        assert (await policy.decide(_asked("friend"))).allowed


async def test_without_its_rule_opa_answers_200_and_it_is_undefined(socket: Path, start: Start, policy: Path):
    (policy / "gateway/decision/decision.rego").unlink()
    start(f"unix://{socket}", "--bundle", policy)
    async with _started(f"unix://{socket}") as asked:
        assert _code(await asked.decide(_asked("friend"))) == "policy/undefined"
        assert not asked.status().ready
        assert "no answer" in str(asked.status().problem)


async def _becomes(policy: Policy, *, ready: bool) -> None:
    end = time.monotonic() + 30
    while policy.status().ready is not ready:
        assert time.monotonic() < end, f"it did not become ready={ready}"
        await asyncio.sleep(0.02)


async def test_a_hung_opa_is_late_and_not_ready_and_serves_again_when_it_wakes(
    socket: Path, start: Start, policy: Path
):
    opa = start(f"unix://{socket}", "--bundle", policy)
    async with _started(f"unix://{socket}", deadline=timedelta(milliseconds=500)) as asked:
        assert (await asked.decide(_asked("friend"))).allowed
        opa.hang()

        assert _code(await asked.decide(_asked("friend"))) == "policy/late"
        await _becomes(asked, ready=False)

        opa.wake()
        await _becomes(asked, ready=True)
        assert (await asked.decide(_asked("friend"))).allowed


async def test_a_killed_opa_is_unavailable_and_serves_again_after_its_restart(socket: Path, start: Start, policy: Path):
    opa = start(f"unix://{socket}", "--bundle", policy)
    async with _started(f"unix://{socket}") as asked:
        assert (await asked.decide(_asked("friend"))).allowed
        opa.kill()

        assert _code(await asked.decide(_asked("friend"))) == "policy/unavailable"
        assert await asked.visible(_asked("friend"), frozenset({"a"})) == frozenset()
        await _becomes(asked, ready=False)

        start(f"unix://{socket}", "--bundle", policy)
        await _becomes(asked, ready=True)
        assert (await asked.decide(_asked("friend"))).allowed


async def test_opa_killed_while_it_evaluates_is_unavailable(socket: Path, start: Start, policy: Path):
    opa = start(f"unix://{socket}", "--bundle", policy)
    async with _started(f"unix://{socket}", deadline=timedelta(seconds=30)) as asked:
        slow = asyncio.ensure_future(asked.decide(_asked("slow")))
        await asyncio.sleep(0.2)
        assert not slow.done()
        opa.kill()

        assert _code(await slow) == "policy/unavailable"


def _free_port() -> int:
    with sockets.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


def _certificates(folder: Path) -> tuple[Path, Path, Path]:
    """An authority, and a certificate of it for 127.0.0.1: paths of the authority, the certificate and its key."""
    now = dt.datetime.now(dt.UTC)

    def signed(
        name: str, issuer: str, key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey, *, ca: bool
    ) -> x509.Certificate:
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
            .sign(signer, hashes.SHA256())
        )

    folder.mkdir()
    authority, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    files = {
        "ca.pem": signed("test CA", "test CA", authority, authority, ca=True).public_bytes(serialization.Encoding.PEM),
        "opa.pem": signed("opa", "test CA", own, authority, ca=False).public_bytes(serialization.Encoding.PEM),
        "opa.key": own.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder / "ca.pem", folder / "opa.pem", folder / "opa.key"


async def test_over_tls_only_an_opa_of_the_own_authority_is_believed(tmp_path: Path, start: Start, policy: Path):
    ca, certificate, key = _certificates(tmp_path / "right")
    other, _, _ = _certificates(tmp_path / "other")
    port = _free_port()
    start(
        f"https://127.0.0.1:{port}", "--tls-cert-file", certificate, "--tls-private-key-file", key, "--bundle", policy
    )

    async with _started(f"https://127.0.0.1:{port}", ca=ca) as asked:
        assert (await asked.decide(_asked("friend"))).allowed

    for authorities in (other, None):
        stranger = OpaClient(OpaEngine(kind="opa", url=f"https://127.0.0.1:{port}", ca=authorities))
        with pytest.raises(PolicyError) as raised:
            await stranger.evaluate("decision", b"{}")
        await stranger.aclose()
        assert raised.value.code == "policy/unavailable"


async def test_a_token_that_opa_asks_for_is_sent(start: Start, policy: Path, monkeypatch: pytest.MonkeyPatch):
    (policy / ".manifest").write_text('{"revision": "r1", "roots": ["gateway", "system/authz"]}', encoding="utf-8")
    (policy / "authz.rego").write_text(
        'package system.authz\n\ndefault allow := false\n\nallow if input.identity == "right"\n', encoding="utf-8"
    )
    port = _free_port()
    start(f"127.0.0.1:{port}", "--authentication", "token", "--authorization", "basic", "--bundle", policy)
    monkeypatch.setenv("OPA_TOKEN", "right")
    monkeypatch.setenv("OTHER_TOKEN", "wrong")

    async with _started(f"http://127.0.0.1:{port}", token="${OPA_TOKEN}") as asked:
        assert (await asked.decide(_asked("friend"))).allowed
    async with _started(f"http://127.0.0.1:{port}", token="${OTHER_TOKEN}") as asked:
        decision = await asked.decide(_asked("friend"))

    assert _code(decision) == "policy/unavailable"
    assert "status 401" in decision.reasons[0].message


async def test_opa_says_what_is_wrong_with_the_grants_that_it_holds(socket: Path, start: Start, tmp_path: Path):
    folder = tmp_path / "own"
    shutil.copytree(find_shipped(), folder)
    grants = "upstreams: {files: [{id: a, agents: [b], issuers: [c], tolls: [d]}]}\n"
    (folder / bundle.GRANTS).write_text(grants, encoding="utf-8")
    start(f"unix://{socket}", "--bundle", folder)

    server = OpaClient(OpaEngine(kind="opa", url=f"unix://{socket}", deadline=timedelta(seconds=5)))
    async with _started(f"unix://{socket}"):
        assert await server.problems(GRANTS) == [
            "upstream 'files', grant 1: one of tools, resources and prompts is needed",
            "upstream 'files', grant 1: there is no field \"tolls\"",
        ]
    await server.aclose()


async def test_opa_says_which_rule_gives_a_finding_without_a_code(socket: Path, start: Start, policy: Path):
    family = "package gateway.denials.tickets\n\ndenials contains finding if finding := input.arguments.finding\n"
    tiny_policy.write(policy, {"gateway/denials/tickets/tickets.rego": family, "gateway/denials/data.json": '{"x": 1}'})
    start(f"unix://{socket}", "--bundle", policy)
    server = OpaClient(OpaEngine(kind="opa", url=f"unix://{socket}", deadline=timedelta(seconds=5)))

    async with _started(f"unix://{socket}"):
        good = await server.malformed_rule(b'{"arguments": {"finding": {"code": "tickets/x"}}}')
        bad = await server.malformed_rule(b'{"arguments": {"finding": {"facts": []}}}')

    assert (good, bad) == (None, "data.gateway.denials.tickets.denials")
    await server.aclose()


async def test_an_opa_whose_policy_says_nothing_of_grants_has_no_problems(socket: Path, start: Start, policy: Path):
    start(f"unix://{socket}", "--bundle", policy)
    server = OpaClient(OpaEngine(kind="opa", url=f"unix://{socket}", deadline=timedelta(seconds=5)))
    async with _started(f"unix://{socket}"):
        assert await server.problems(GRANTS) == []
    await server.aclose()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "OPA does not report how old its bundles are (status 500); put `status: {prometheus: true}` into"),
        (
            ("--set=status.prometheus=true",),
            "OPA does not report how old its bundle 'POLICY' is: it does so of bundles",
        ),
    ],
)
@requirement("fault/stale-bundle")
async def test_the_age_of_a_policy_that_opa_has_from_a_folder_is_not_known_so_it_is_stale_after_a_while(
    socket: Path, start: Start, policy: Path, options: tuple[str, ...], said: str
):
    start(f"unix://{socket}", "--bundle", policy, *options)
    engine, now = OpaEngine(kind="opa", url=f"unix://{socket}", deadline=timedelta(seconds=5)), 0.0
    await _up(engine)
    settings = PolicySettings(engine=engine, stale_after=timedelta(hours=1))
    asked = Policy.build(settings, supported=frozenset(), clock=time.time, monotonic=lambda: now)
    await asked.start()

    assert str(asked.status().problem).startswith(said.replace("POLICY", str(policy)))
    now = 3600.0
    assert (await asked.decide(_asked("friend"))).allowed
    now = 3600.1
    assert _code(await asked.decide(_asked("friend"))) == "policy/stale"
    assert await asked.visible(_asked("x"), frozenset({"a"})) == frozenset()
    await asked.stop()


async def test_both_engines_give_the_same_answers_on_the_shipped_policy(socket: Path, start: Start):
    folder = find_shipped()
    if not (folder / "gateway/decision").is_dir():
        pytest.skip(f"there is no policy in {folder}")
    start(f"unix://{socket}", "--bundle", folder)
    policy = compiled(bundle.read_folder(folder))

    async with _started(f"unix://{socket}") as asked:
        assert asked.status().ready, asked.status().problem
        server = OpaClient(OpaEngine(kind="opa", url=f"unix://{socket}", deadline=timedelta(seconds=5)))
        assert [await server.problems(file) for file in DATA_FILES] == [[], []]
        for question in (*load_checks.CALLS, load_checks.HOSTILE):
            answer = await server.evaluate("decision", document.encode(question))
            assert answer == policy.answer("decision", question)
        for question in (load_checks.LIST, load_checks.HOSTILE):
            answer = await server.evaluate("visibility", document.encode(question))
            assert answer == policy.answer("visibility", question)
        await server.aclose()
