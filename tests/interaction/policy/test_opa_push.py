"""A push into a real OPA: each step of it, each way in which it can break, and the ways to reach an OPA."""

from __future__ import annotations

import socket as sockets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from pydantic import SecretStr

from gateway.config import OpaEngine
from gateway.model.errors import PolicyBroken, PolicyError, PolicyUnavailable
from gateway.policy import verdict
from gateway.policy.folder import bundle
from gateway.policy.folder.bundle import Bundle
from gateway.policy.opa.contents import Difference, HeldModule, Pushed
from gateway.surfaces.cli.opa_admin import OpaAdmin, Rejected
from gateway.surfaces.cli.opa_push import Change, is_gate, push
from tests import tiny_policy
from tests.e2e.certificates import server as server_pair
from tests.e2e.certificates import written
from tests.requirements import requirement
from tests.unit.identity.tokens import Authority

pytestmark = pytest.mark.opa

Start = Callable[..., Any]
IMPORT = "package gateway.decision\n\nimport data.gateway.lib"
FILES: Mapping[str, str] = {
    ".manifest": '{"roots": ["gateway", "extra/data"]}',
    "gateway/decision/decision.rego": tiny_policy.decision("lib.is_friend(input.subject.id)").replace(
        "package gateway.decision", IMPORT
    ),
    "gateway/visibility/visibility.rego": tiny_policy.visibility("input.version == 1"),
    "gateway/lib/lib.rego": "package gateway.lib\n\nis_friend(name) if name in data.gateway.grants.upstreams.friends\n",
    "gateway/grants/data.yaml": "upstreams: {friends: [friend]}\n",
}
NEXT: Mapping[str, str] = {
    ".manifest": '{"roots": ["gateway"]}',
    "gateway/decision/decision.rego": tiny_policy.decision('lib.is_friend(input.subject.id, "other")').replace(
        "package gateway.decision", IMPORT
    ),
    "gateway/visibility/visibility.rego": FILES["gateway/visibility/visibility.rego"],
    "gateway/lib/lib.rego": "package gateway.lib\n\nis_friend(name, other) if name in {other}\n",
    "gateway/lib/more.rego": "package gateway.lib.more\n\nimport data.gateway.lib\n\nx if lib.is_friend(1, 2)\n",
}
"""A function has another arity here, a module is new, and the grants are gone."""


def _bundle(folder: Path, files: Mapping[str, str]) -> Bundle:
    return bundle.read_folder(tiny_policy.write(folder, files))


@pytest.fixture
def old(tmp_path: Path) -> Bundle:
    return _bundle(tmp_path / "old", FILES)


@pytest.fixture
def new(tmp_path: Path) -> Bundle:
    return _bundle(tmp_path / "new", NEXT)


def _admin(url: str, **more: Any) -> OpaAdmin:
    """Return the administration of an OPA that answers, or refuses."""
    admin = OpaAdmin(OpaEngine(kind="opa", url=url).model_copy(update=more))
    end = time.monotonic() + 30
    while True:
        try:
            admin.version()
        except PolicyUnavailable as error:
            if "cannot be reached" not in error.message:
                return admin
            assert time.monotonic() < end, "OPA did not come up"
            time.sleep(0.02)
        else:
            return admin


@pytest.fixture
def admin(start: Start, tmp_path: Path) -> Iterator[OpaAdmin]:
    start(f"unix://{tmp_path}/opa.sock")
    found = _admin(f"unix://{tmp_path}/opa.sock")
    yield found
    found.close()


def _push(admin: Any, policy: Bundle, name: str = "one", *, take_over: bool = False) -> Sequence[Change]:
    return push(admin, policy, name=name, at="2026-11-28T08:00:00+00:00", take_over=take_over)


def _is_gated(admin: OpaAdmin) -> bool:
    return any(map(is_gate, admin.modules()))


def _allowed(admin: OpaAdmin, subject: str) -> bool | None:
    """Return whether OPA allows a call as the gateway would read it; `None` if it has no verdict."""
    question: dict[str, Any] = {"subject": {"id": subject}, "version": 1, "resources": []}
    client: Any = admin._client
    try:
        answer: object = client.query_rule(question, "gateway.decision", "result").get("result")
    except requests.HTTPError:
        return None
    decision = verdict.read_decision(answer, frozenset()) if answer is not None else None
    return None if decision is None or decision.undecided else decision.allowed


def _agrees(admin: OpaAdmin, policy: Bundle) -> bool:
    return not admin.difference(policy, admin.modules()) and admin.pushed().revision == policy.revision


class _Watching:
    """An administration that calls `told` after each change, with the number of the change."""

    def __init__(self, admin: OpaAdmin, told: Callable[[int], None]) -> None:
        self._admin = admin
        self._told = told
        self._count = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._admin, name)

    def _change(self, name: str, *arguments: Any) -> None:
        try:
            getattr(self._admin, name)(*arguments)
        finally:
            self._count += 1
            self._told(self._count)

    def put_module(self, module: str, text: str) -> None:
        self._change("put_module", module, text)

    def delete_module(self, module: str) -> None:
        self._change("delete_module", module)

    def put_data(self, path: tuple[str, ...], value: dict[str, Any]) -> None:
        self._change("put_data", path, value)

    def delete_data(self, path: tuple[str, ...]) -> None:
        self._change("delete_data", path)


def test_a_push_puts_modules_data_and_its_record_and_leaves_others_alone(admin: OpaAdmin, old: Bundle):
    admin.put_module("theirs.rego", "package theirs\n\nx := data.more.y\n")
    admin.put_data(("more",), {"y": 1})

    assert len(_push(admin, old)) == 4

    assert _agrees(admin, old)
    assert admin.pushed() == Pushed(old.revision, "", "one", "2026-11-28T08:00:00+00:00", ("gateway",))
    assert (_allowed(admin, "friend"), _allowed(admin, "other")) == (True, False)
    assert admin.value(("theirs", "x")) == 1
    assert {module.id for module in admin.modules()} == {"theirs.rego", *(f"opagate/{name}" for name, _ in old.modules)}
    assert _push(admin, old, "two") == []
    assert admin.pushed().push == "one"


def test_a_push_deletes_modules_and_data_that_are_gone_and_changes_a_function_with_its_callers(
    admin: OpaAdmin, old: Bundle, new: Bundle
):
    admin.put_data(("more",), {"y": 1})
    _push(admin, old)

    _push(admin, new)

    assert _agrees(admin, new)
    assert (_allowed(admin, "friend"), _allowed(admin, "other")) == (False, True)
    assert admin.value(("gateway", "grants", "upstreams")) == verdict.UNDEFINED
    assert admin.value(("more", "y")) == 1

    _push(admin, old)
    assert _agrees(admin, old)
    assert "opagate/gateway/lib/more.rego" not in {module.id for module in admin.modules()}


@requirement("operations/push")
@pytest.mark.parametrize("forward", [True, False])
def test_at_no_moment_of_a_push_is_a_call_decided_by_half_a_policy(
    admin: OpaAdmin, old: Bundle, new: Bundle, *, forward: bool
):
    before, after = (old, new) if forward else (new, old)
    _push(admin, before)
    seen: list[tuple[bool | None, bool | None]] = []

    _push(_Watching(admin, lambda _: seen.append((_allowed(admin, "friend"), _allowed(admin, "other")))), after)

    whole = [(True, False), (False, True)] if forward else [(False, True), (True, False)]
    assert set(seen) == {*whole, (None, None)}
    assert seen.index((None, None)) > 0
    # Old, refused, new: never back.
    assert list(dict.fromkeys(seen)) == [whole[0], (None, None), whole[1]]


@pytest.mark.parametrize("at", range(1, 16))
@pytest.mark.parametrize("forward", [True, False])
def test_a_push_that_is_killed_is_seen_and_decides_nothing_until_another_takes_over(
    admin: OpaAdmin, old: Bundle, new: Bundle, tmp_path: Path, at: int, *, forward: bool
):
    _push(admin, old)
    is_killed = _killed(admin, new, at)
    decisions = (_allowed(admin, "friend"), _allowed(admin, "other"))
    assert decisions in {(True, False), (None, None), (False, True)}
    assert bool(admin.pushed().pushing) is (is_killed and not _agrees(admin, new))
    if admin.pushed().pushing:
        with pytest.raises(PolicyBroken, match="another push to this OPA has not ended"):
            _push(admin, new, "early")
        # A push that OPA refuses puts no half policy into force.
        broken = _bundle(tmp_path / "broken", {**NEXT, "gateway/lib/lib.rego": "package gateway.lib\n\nx if y\n"})
        with pytest.raises(PolicyBroken, match="a push before was killed, so OPA refuses every call"):
            _push(admin, broken, "broken", take_over=True)
        assert (_allowed(admin, "friend"), _allowed(admin, "other")) == (None, None)

    wanted = new if forward else old
    _push(admin, wanted, "again", take_over=True)
    assert _agrees(admin, wanted)
    assert not _is_gated(admin)
    assert (_allowed(admin, "friend"), _allowed(admin, "other")) == (not forward, forward)


def _killed(admin: OpaAdmin, policy: Bundle, at: int) -> bool:
    """Kill a push after its change of this number; return whether it had not ended by then."""

    def kill(count: int) -> None:
        if count == at:
            raise KeyboardInterrupt

    try:
        _push(_Watching(admin, kill), policy, "killed")
    except KeyboardInterrupt:
        return True
    return False


@pytest.mark.parametrize("more", [{}, {"gateway/lib/more.rego": "package gateway.lib.more\n"}])
def test_a_policy_that_does_not_compile_leaves_the_one_before_and_names_file_and_line(
    admin: OpaAdmin, old: Bundle, tmp_path: Path, more: Mapping[str, str]
):
    _push(admin, old)
    broken = _bundle(
        tmp_path / "broken",
        {**NEXT, **more, "gateway/lib/lib.rego": "package gateway.lib\n\n\nis_friend(a, b) if a == c\n"},
    )

    with pytest.raises(Rejected, match=r"gateway/lib/lib\.rego:4: var c is unsafe"):
        _push(admin, broken, "broken")

    assert _agrees(admin, old)
    assert admin.pushed().push == "one"
    assert (_allowed(admin, "friend"), _allowed(admin, "other")) == (True, False)
    assert not _is_gated(admin)


def test_a_single_broken_module_changes_nothing_at_all(admin: OpaAdmin, old: Bundle, tmp_path: Path):
    _push(admin, old)
    text = FILES["gateway/lib/lib.rego"]
    broken = _bundle(tmp_path / "broken", {**FILES, "gateway/lib/lib.rego": f"{text}\nx if {{\n"})

    with pytest.raises(Rejected, match=r"gateway/lib/lib\.rego:\d+: "):
        _push(admin, broken)

    assert _agrees(admin, old)


def test_a_first_push_that_is_refused_leaves_nothing(admin: OpaAdmin, tmp_path: Path):
    broken = _bundle(tmp_path / "broken", {**FILES, "gateway/lib/lib.rego": "package gateway.lib\n\nx if y\n"})

    with pytest.raises(Rejected):
        _push(admin, broken)

    assert admin.modules() == ()
    assert admin.pushed() == Pushed()
    assert admin.value(("gateway",)) == verdict.UNDEFINED


def test_a_module_of_somebody_else_in_a_package_of_the_policy_refuses_the_push(admin: OpaAdmin, old: Bundle):
    admin.put_module("theirs.rego", "package gateway\n\ndecision.result := 1\n")

    with pytest.raises(PolicyBroken, match=r"OPA has theirs\.rego from elsewhere") as raised:
        _push(admin, old)

    assert "remove it from OPA" in raised.value.remedy
    assert len(admin.modules()) == 1


@pytest.mark.parametrize("roots", ['["gateway"]', '["gateway/decision/x"]', '[""]', '["opagate"]'])
def test_an_opa_with_a_bundle_of_the_policy_is_not_pushed_to(start: Start, tmp_path: Path, old: Bundle, roots: str):
    folder = tiny_policy.write(tmp_path / "theirs", {".manifest": f'{{"roots": {roots}}}'})
    start(f"unix://{tmp_path}/opa.sock", "--bundle", folder)
    admin = _admin(f"unix://{tmp_path}/opa.sock")

    with pytest.raises(PolicyBroken, match="from the bundle"):
        _push(admin, old)

    assert admin.pushed() == Pushed()
    admin.close()


def test_an_opa_with_a_bundle_of_something_else_is_pushed_to(start: Start, tmp_path: Path, old: Bundle):
    folder = tiny_policy.write(
        tmp_path / "theirs", {".manifest": '{"roots": ["gatewayx"]}', "gatewayx/x.rego": "package gatewayx\n"}
    )
    start(f"unix://{tmp_path}/opa.sock", "--bundle", folder)
    admin = _admin(f"unix://{tmp_path}/opa.sock")

    _push(admin, old)

    assert _agrees(admin, old)
    admin.close()


def test_data_that_somebody_has_changed_are_seen_and_put_back(admin: OpaAdmin, old: Bundle):
    _push(admin, old)
    admin.put_data(("gateway", "grants"), {"upstreams": {"friends": ["friend", "mallory"]}})
    assert admin.difference(old, admin.modules()) == Difference(data=("gateway/grants",))
    assert _allowed(admin, "mallory")

    _push(admin, old, "again")

    assert _agrees(admin, old)
    assert _allowed(admin, "mallory") is False


@pytest.mark.parametrize("at", [1, 4])
def test_two_pushes_at_once_do_not_both_succeed(admin: OpaAdmin, old: Bundle, new: Bundle, at: int):
    _push(admin, old)

    def other(count: int) -> None:
        if count == at:
            admin.put_data(("opagate", "pushed"), {"pushing": "r", "push": "other"})

    with pytest.raises(PolicyBroken, match="another push"):
        _push(_Watching(admin, other), new, "mine")
    assert _allowed(admin, "friend") is (True if at == 1 else None)

    _push(admin, new, "last", take_over=True)
    assert _agrees(admin, new)


def test_pushes_that_race_end_in_the_policy_of_one_or_in_refusals(
    admin: OpaAdmin, old: Bundle, new: Bundle, tmp_path: Path
):
    _push(admin, old)

    def race(policy: Bundle, name: str) -> bool:
        mine = OpaAdmin(OpaEngine(kind="opa", url=f"unix://{tmp_path}/opa.sock"))
        try:
            _push(mine, policy, name)
        except PolicyError:
            return False
        finally:
            mine.close()
        return True

    for number in range(20):
        with ThreadPoolExecutor(2) as pool:
            racing = [pool.submit(race, policy, f"{number}-{policy.revision}") for policy in (old, new)]
        decisions = (_allowed(admin, "friend"), _allowed(admin, "other"))
        if _is_gated(admin) or admin.pushed().pushing:
            assert decisions == (None, None)
        else:
            assert any(task.result() for task in racing)
            assert _agrees(admin, old) or _agrees(admin, new)
        _push(admin, (old, new)[number % 2], f"{number}", take_over=True)


def test_an_opa_that_goes_during_a_push_is_told_and_refuses_when_it_is_not_the_old_one(
    start: Start, tmp_path: Path, old: Bundle
):
    opa = start(f"unix://{tmp_path}/opa.sock")
    admin = _admin(f"unix://{tmp_path}/opa.sock")

    def kill(count: int) -> None:
        if count == 4:
            opa.kill()

    with pytest.raises(PolicyBroken, match="the policy before could not be put back") as raised:
        _push(_Watching(admin, kill), old)

    assert "--take-over" in raised.value.remedy
    admin.close()


def _free_port() -> int:
    with sockets.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


def test_over_tls_the_configured_authority_and_token_are_used_and_those_of_the_machine_are_not(
    start: Start, tmp_path: Path, old: Bundle, monkeypatch: pytest.MonkeyPatch
):
    authority, other = Authority("mine", now=time.time()), Authority("other", now=time.time())
    pair = server_pair(authority, tmp_path)
    authz = tiny_policy.write(
        tmp_path / "authz",
        {"authz.rego": 'package system.authz\n\ndefault allow := false\n\nallow if input.identity == "right"\n'},
    )
    port = _free_port()
    start(
        f"https://127.0.0.1:{port}",
        *("--tls-cert-file", pair.certificate, "--tls-private-key-file", pair.key),
        *("--authentication", "token", "--authorization", "basic", authz),
    )
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login mallory password s3cret\n", "utf-8")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    url, ca = f"https://127.0.0.1:{port}", written(authority, tmp_path, "ca")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(ca))

    right = _admin(url, ca=ca, token=SecretStr("right"))
    _push(right, old)
    assert _agrees(right, old)

    wrong = _admin(url, ca=ca, token=SecretStr("wr0ng-token"))
    with pytest.raises(PolicyUnavailable, match="does not let this token administer it") as raised:
        _push(wrong, old)
    assert "wr0ng-token" not in f"{raised.value.message}{raised.value.remedy}"
    for authorities in (written(other, tmp_path, "other"), None):
        stranger = OpaAdmin(OpaEngine(kind="opa", url=url, ca=authorities))
        with pytest.raises(PolicyUnavailable, match="certificate is not accepted"):
            stranger.modules()
        stranger.close()
    right.close()
    wrong.close()


def test_an_opa_that_is_not_there_is_told(tmp_path: Path):
    for url in (f"unix://{tmp_path}/nothing.sock", f"http://127.0.0.1:{_free_port()}"):
        admin = OpaAdmin(OpaEngine(kind="opa", url=url))
        with pytest.raises(PolicyUnavailable, match=r"OPA cannot be reached: (No such file|Connection refused)"):
            admin.modules()
        admin.close()


def test_a_module_is_given_with_its_text_and_rules(admin: OpaAdmin):
    admin.put_module("opagate/a b.rego", "package a\n\nx.y := 1\n")

    assert admin.modules() == (
        HeldModule("opagate/a b.rego", "package a\n\nx.y := 1\n", ("a",), frozenset({("a", "x", "y")})),
    )
    admin.delete_module("opagate/a b.rego")
    admin.delete_module("opagate/a b.rego")
    assert admin.modules() == ()
