"""`opagate policy` on small policies."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from gateway.policy.plan import store
from gateway.surfaces.cli import policy_build
from tests.interaction.cli.conftest import ROOT, Done, Opagate, run_opagate


def _policy(folder: Path, *, test: str) -> None:
    package = folder / "gateway/decision"
    package.mkdir(parents=True)
    (package / "decision.rego").write_text(
        'package gateway.decision\n\ndefault result := {"version": 1, "effect": "deny", "obligations": [],'
        ' "reasons": [{"code": "tool/none", "message": "No [x].", "remedy": "Ask.", "controls": [], "facts": []}],'
        ' "policy": {"name": "tiny", "revision": ""}}\n\n'
        'result := {"version": 1, "effect": "allow", "obligations": [], "reasons": [],'
        ' "policy": {"name": "tiny", "revision": ""}} if input.arguments.ok == true\n',
        "utf-8",
    )
    (package / "decision_test.rego").write_text(
        f"package gateway.decision_test\n\nimport data.gateway.decision\n\n{test}\n", "utf-8"
    )
    (folder / "gateway/visibility").mkdir()
    (folder / "gateway/visibility/visibility.rego").write_text(
        'package gateway.visibility\n\nresult := {"version": 1, "visible": []}\n', "utf-8"
    )


def test_a_policy_is_tested_by_opa(opagate: Opagate, tmp_path: Path):
    good = 'test_ok if decision.result.effect == "allow" with input as {"arguments": {"ok": true}}'
    _policy(tmp_path / "good", test=good)
    _policy(tmp_path / "bad", test=good + '\n\ntest_wrong if decision.result.effect == "allow" with input as {}')

    passed = opagate("policy", "test", "--path", "good", "--json")
    assert (passed.status, [item["name"] for item in passed.json["tests"]]) == (0, ["gateway.decision_test.test_ok"])
    failed = opagate("policy", "test", "--path", "bad", "--json")
    assert (failed.status, failed.json["failed"]) == (1, ["gateway.decision_test.test_wrong"])
    assert "FAIL" in opagate("policy", "test", "--path", "bad").out


def test_an_input_is_evaluated_to_effect_and_reasons(opagate: Opagate, tmp_path: Path):
    _policy(tmp_path / "p", test="")
    allowed = opagate("policy", "eval", "--path", "p", "--json", stdin='{"arguments": {"ok": true}}')
    denied = opagate("policy", "eval", "--path", "p", stdin="{}")

    assert (allowed.status, allowed.json["effect"]) == (0, "allow")
    assert denied.status == 1
    assert "tool/none" in denied.out
    assert "No [x]." in denied.out
    for broken in ("{", "[]"):
        assert opagate("policy", "eval", "--path", "p", stdin=broken).status == 2


def test_a_question_about_leases_names_those_that_stay(opagate: Opagate, tmp_path: Path):
    _policy(tmp_path / "p", test="")
    (tmp_path / "p/gateway/leases").mkdir()
    (tmp_path / "p/gateway/leases/leases.rego").write_text(
        'package gateway.leases\n\nresult := {"version": 1, "keep": ["a"]} if input.leases[0].id == "a"\n', "utf-8"
    )
    asked = json.dumps({"leases": [{"id": "a"}, {"id": "b"}]})
    kept = opagate("policy", "eval", "--path", "p", "--entrypoint", "leases", "--json", stdin=asked)
    none = opagate("policy", "eval", "--path", "p", "--entrypoint", "leases", stdin="{}")

    assert (kept.status, kept.json) == (0, {"keep": ["a"]})
    assert none.status == 1


def test_what_would_not_be_put_into_force_is_found(opagate: Opagate, tmp_path: Path):
    _policy(tmp_path / "p", test="test_ok if decision.result.version == 1")
    rule = tmp_path / "p/gateway/decision/decision.rego"
    rule.write_text(
        rule.read_text("utf-8").replace("input.arguments.ok == true", 'http.send({"method": "get", "url": "x"})'),
        "utf-8",
    )

    done = opagate("policy", "check", "--path", "p", "--json")
    states = {item["name"]: item["state"] for item in done.json["checks"]}

    assert done.status == 1
    assert states["fields and families"] == "fail"
    assert "decision.rego:" in opagate("policy", "check", "--path", "p").out


def test_data_in_the_place_of_a_rule_are_found(opagate: Opagate, tmp_path: Path):
    _policy(tmp_path / "p", test="test_ok if decision.result.version == 1")
    (tmp_path / "mine.yaml").write_text("upstreams: {}\n", encoding="utf-8")
    grants = "package gateway.grants\n\ngranted if input.version == 1\n"
    (tmp_path / "p/gateway/grants").mkdir(parents=True, exist_ok=True)
    (tmp_path / "p/gateway/grants/grants.rego").write_text(grants, encoding="utf-8")
    good = opagate("policy", "check", "--path", "p", "--grants", "mine.yaml", "--json").json
    (tmp_path / "mine.yaml").write_text("upstreams: {}\ngranted: true\n", encoding="utf-8")

    found = opagate("policy", "check", "--path", "p", "--grants", "mine.yaml", "--json").json

    before, after = ({item["name"]: item for item in document["checks"]} for document in (good, found))
    assert "conflicting rule for data path gateway/grants/granted" in " ".join(after["opa check"]["findings"])
    assert before["opa check"]["findings"] == []


def test_data_in_the_place_of_a_test_make_no_test_pass(opagate: Opagate, tmp_path: Path):
    _policy(tmp_path / "p", test="test_wrong if false")
    (tmp_path / "p/data.json").write_text('{"gateway": {"decision_test": {"test_wrong": true}}}', encoding="utf-8")

    done = opagate("policy", "test", "--path", "p")

    assert done.status != 0
    assert "conflicting rule for data path gateway/decision_test/test_wrong" in done.err


def test_an_overlay_that_init_writes_passes_its_tests_and_every_check(opagate: Opagate):
    made = opagate("policy", "init", "own")
    tested = opagate("policy", "test", "--overlay", "own", "--json")
    checked = opagate("policy", "check", "--overlay", "own", "--json")

    assert (made.status, tested.status, checked.status) == (0, 0, 0), checked.out
    assert len(tested.json["tests"]) == 4
    assert all(item["name"].startswith("overlay.reports_test.") for item in tested.json["tests"])
    assert opagate("policy", "init", "own").status == 2


def test_a_call_is_evaluated_with_an_overlay(opagate: Opagate, tmp_path: Path):
    call = {"resource": {"id": "files/write_file"}, "context": {"task": {"kind": "implicit"}}}
    opagate("policy", "init", "own")
    (tmp_path / "gateway.yaml").write_text("policy: {overlay: own}\nupstreams: {}\n", "utf-8")

    without, given = (
        {reason["code"]: reason for reason in done.json["reasons"]}
        for done in (
            opagate("policy", "eval", "--path", str(ROOT / "rego"), "--json", stdin=json.dumps(call)),
            opagate("policy", "eval", "--json", stdin=json.dumps(call)),
        )
    )

    assert given.keys() - without.keys() == {"acme-reports/undeclared-task"}
    assert (
        given["acme-reports/undeclared-task"]["remedy"] == "Declare a task with POST /tasks, and call with its token."
    )


def test_an_overlay_that_could_change_the_policy_is_found(opagate: Opagate, tmp_path: Path):
    opagate("policy", "init", "own")
    rule = tmp_path / "own/reports/reports.rego"
    rule.write_text(
        rule.read_text("utf-8").replace("package overlay.reports", "package gateway.denials.budget"), "utf-8"
    )
    (tmp_path / "gateway.yaml").write_text("policy: {overlay: own}\nupstreams: {}\n", "utf-8")

    for command in (("policy", "check"), ("check",)):
        done = opagate(*command, "--json")
        assert done.status == 1
        assert "overlay/reports/reports.rego: gateway.denials.budget is no package of an overlay" in done.out


def test_policy_and_overlay_are_built_for_an_opa(opagate: Opagate, tmp_path: Path):
    opagate("policy", "init", "own")
    built = opagate("policy", "build", "built", "--overlay", "own")
    manifest = json.loads((tmp_path / "built/.manifest").read_text("utf-8"))

    assert built.status == 0
    assert manifest["roots"] == ["gateway", "system/log", "overlay"]
    assert f"revision {manifest['revision']}" in built.out
    assert not list((tmp_path / "built").rglob("*_test.rego"))
    checks = opagate("policy", "check", "--path", "built", "--json").json["checks"]
    assert {item["name"] for item in checks if item["findings"]} <= {"regal"}, "which has no settings there"
    assert opagate("policy", "build", "built").status == 2

    (tmp_path / "own/reports/reports.rego").write_text("package overlay.reports\n\ndeny := 1\n", "utf-8")
    assert opagate("policy", "build", "other", "--overlay", "own").status == 2
    assert not (tmp_path / "other").exists()


@dataclass(frozen=True, slots=True)
class Signed:
    """A folder with an overlay, its signed plan beside it and the key, and what the command printed."""

    folder: Path
    compiled: Done


@pytest.fixture(scope="module")
def first_signed(opa_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Signed:
    folder = tmp_path_factory.mktemp("signed")
    run_with: dict[str, Any] = {"environment": {"PATH": f"{opa_path.parent}{os.pathsep}{os.environ['PATH']}"}}
    assert run_opagate(folder, "policy", "init", "own").status == 0
    return Signed(folder, run_opagate(folder, "policy", "build", "--overlay", "own", "--sign", "key.pem", **run_with))


@pytest.fixture
def signed(first_signed: Signed, tmp_path: Path, opa_path: Path, monkeypatch: pytest.MonkeyPatch) -> Done:
    """Copy the signed overlay for the test alone. Return what the command printed."""
    monkeypatch.setenv("PATH", f"{opa_path.parent}{os.pathsep}{os.environ['PATH']}")
    shutil.copytree(first_signed.folder, tmp_path, dirs_exist_ok=True)
    return first_signed.compiled


@pytest.mark.opa
def test_own_rules_are_compiled_beside_their_folder(signed: Done, tmp_path: Path):
    assert signed.status == 0, signed.err
    assert signed.out.startswith("wrote own.plan: plan ")
    assert (tmp_path / "own.plan").exists()
    assert (tmp_path / "key.pem").stat().st_mode & 0o777 == 0o600
    public = signed.out.splitlines()[-1].strip()
    printed = subprocess.run(
        ["openssl", "pkey", "-in", "key.pem", "-pubout"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert public == f"plan_keys: [{printed.stdout.splitlines()[1]}]"


@pytest.mark.opa
def test_a_build_without_a_target_or_a_key_writes_nothing(opagate: Opagate, opa_path: Path, tmp_path: Path):
    assert opagate("policy", "init", "own").status == 0

    aimless = opagate("policy", "build", "--overlay", "own")

    assert aimless.status == 2
    assert "--sign" in aimless.err
    assert not (tmp_path / "own.plan").exists()


@pytest.mark.opa
def test_the_check_of_a_configuration_says_whether_a_compiled_form_counts(
    opagate: Opagate, signed: Done, tmp_path: Path
):
    (tmp_path / "gateway.yaml").write_text("policy: {overlay: own}\n", "utf-8")

    left = [item for item in opagate("check", "--json").json["findings"] if item["what"] == "compiled policy"]
    section = "policy:\n  overlay: own\n" + signed.out.splitlines()[-1] + "\n"
    (tmp_path / "gateway.yaml").write_text(section, "utf-8")
    taken = [item for item in opagate("check", "--json").json["findings"] if item["what"] == "compiled policy"]

    assert [item["state"] for item in left] == ["warn"]
    assert "own.plan is not signed by a key of policy.plan_keys" in left[0]["found"]
    assert [item["state"] for item in taken] == ["ok"]
    assert "own.plan counts: plan " in taken[0]["found"]


@pytest.mark.parametrize("key", ["x", "AAAA", "MCowBQYDK2VuAyEA" + "A" * 43 + "=", "file:key.pem"])
def test_a_key_of_another_kind_is_refused_in_the_configuration(opagate: Opagate, tmp_path: Path, key: str):
    (tmp_path / "gateway.yaml").write_text(f"policy: {{plan_keys: ['{key}']}}\n", "utf-8")

    found = opagate("check")

    assert found.status != 0
    assert "no Ed25519 public key" in " ".join((found.out + found.err).split())


@pytest.mark.opa
def test_a_plan_that_is_not_of_its_rules_is_found(opagate: Opagate, signed: Done, tmp_path: Path):
    place, key = tmp_path / "own.plan", (tmp_path / "key.pem").read_bytes()
    assert opagate("policy", "build", "--overlay", "own", "--sign", "key.pem", "--check").status == 0
    assert (tmp_path / "key.pem").read_bytes() == key, "an existing key is kept"

    written = place.read_bytes()
    stored = store.unpack(written.partition(b"\n")[2], "own.plan")
    foreign = store.unpack(store.SHIPPED.read_bytes(), "shipped")
    forged = store.pack(structs.replace(foreign, rules=stored.rules))
    forged = store.sign(forged, policy_build.signing_key(tmp_path / "key.pem"))
    place.write_bytes(forged)
    found = opagate("policy", "build", "--overlay", "own", "--sign", "key.pem", "--check")
    assert found.status == 1
    assert "own.plan is not the plan of these rules" in found.err + found.out
    assert place.read_bytes() == forged, "a check writes nothing"


@pytest.mark.opa
def test_an_archive_for_an_opa_is_replaced_as_a_whole(opagate: Opagate, opa_path: Path, tmp_path: Path):
    opagate("policy", "init", "own")
    first = opagate("policy", "build", "policy.tar.gz", "--overlay", "own")
    content = (tmp_path / "policy.tar.gz").read_bytes()
    again = opagate("policy", "build", "policy.tar.gz", "--overlay", "own")
    command = [opa_path, "eval", "--bundle", tmp_path / "policy.tar.gz", "data.gateway.decision.result.effect"]
    asked = subprocess.run(command, capture_output=True, text=True, check=True)

    assert (first.status, again.status) == (0, 0)
    assert (tmp_path / "policy.tar.gz").read_bytes() == content, "the same rules make the same bytes"
    assert json.loads(asked.stdout)["result"][0]["expressions"][0]["value"] == "deny"


def test_building_leaves_the_shipped_rules(opagate: Opagate):
    shipped = opagate("policy", "build", "--sign", "key.pem")

    assert shipped.status == 2
    assert "the shipped rules come compiled" in shipped.err
