"""`opagate policy` on small policies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec import structs

from gateway.cli import policy_compile
from gateway.policy.plan import signatures, store
from tests.e2e.wire import until
from tests.interaction.cli.conftest import ROOT, Opagate
from tests.machine import needs_proc


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


def test_a_policy_is_tested_in_the_engine_that_runs_it(opagate: Opagate, tmp_path: Path):
    good = 'test_ok if decision.result.effect == "allow" with input as {"arguments": {"ok": true}}'
    _policy(tmp_path / "good", test=good)
    _policy(tmp_path / "bad", test=good + '\n\ntest_wrong if decision.result.effect == "allow" with input as {}')

    passed = opagate("policy", "test", "--path", "good", "--json")
    assert (passed.status, [item["name"] for item in passed.json["embedded"]]) == (0, ["gateway.decision_test.test_ok"])
    failed = opagate("policy", "test", "--path", "bad", "--json")
    assert (failed.status, failed.json["failed"]) == (1, ["gateway.decision_test.test_wrong"])
    assert "FAIL" in opagate("policy", "test", "--path", "bad").out


@needs_proc
def test_a_test_without_end_can_be_interrupted(tmp_path: Path):
    """The engine holds the interpreter, so Python hears no Ctrl-C."""
    endless = "_many := numbers.range(1, 1000)\n\ntest_endless if {\n" + "\tsome _ in _many\n" * 6 + "\tfalse\n}"
    _policy(tmp_path / "p", test=endless)
    command = [sys.executable, "-m", "gateway", "policy", "test", "--path", "p"]
    with subprocess.Popen(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}) as testing:
        try:
            until(lambda: _processor_seconds(testing.pid) > 4, within=120)

            testing.send_signal(signal.SIGINT)

            assert testing.wait(60) == -signal.SIGINT
        finally:
            testing.kill()


def _processor_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


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
    _policy(tmp_path / "p", test="")
    rule = tmp_path / "p/gateway/decision/decision.rego"
    rule.write_text(rule.read_text("utf-8") + "\nx := http.send({})\n", "utf-8")

    done = opagate("policy", "check", "--path", "p", "--json")
    states = {item["name"]: item["state"] for item in done.json["checks"]}

    assert done.status == 1
    assert states["load and fixtures"] == states["both engines agree"] == "fail"
    assert "decision.rego:" in opagate("policy", "check", "--path", "p").out


def test_data_in_the_place_of_a_rule_are_found_by_the_gateway_and_by_opa(opagate: Opagate, tmp_path: Path):
    _policy(tmp_path / "p", test="test_ok if decision.result.version == 1")
    (tmp_path / "mine.yaml").write_text("upstreams: {}\n", encoding="utf-8")
    grants = "package gateway.grants\n\ngranted if input.version == 1\n"
    (tmp_path / "p/gateway/grants").mkdir(parents=True, exist_ok=True)
    (tmp_path / "p/gateway/grants/grants.rego").write_text(grants, encoding="utf-8")
    good = opagate("policy", "check", "--path", "p", "--grants", "mine.yaml", "--json").json
    (tmp_path / "mine.yaml").write_text("upstreams: {}\ngranted: true\n", encoding="utf-8")

    found = opagate("policy", "check", "--path", "p", "--grants", "mine.yaml", "--json").json

    before, after = ({item["name"]: item for item in document["checks"]} for document in (good, found))
    assert before["data beside rules"]["findings"] == []
    for name in ("load and fixtures", "data beside rules"):
        assert "mine.yaml: it gives data.gateway.grants.granted" in after[name]["findings"][0]
        assert "gateway/grants/grants.rego:3" in after[name]["findings"][0]
    if after["opa check"]["state"] != "skipped":
        assert "conflicting rule for data path gateway/grants/granted" in " ".join(after["opa check"]["findings"])
        assert before["opa check"]["findings"] == []


def test_data_in_the_place_of_a_test_make_no_test_pass(opagate: Opagate, tmp_path: Path):
    _policy(tmp_path / "p", test="test_wrong if false")
    (tmp_path / "p/data.json").write_text('{"gateway": {"decision_test": {"test_wrong": true}}}', encoding="utf-8")

    done = opagate("policy", "test", "--path", "p")

    assert done.status != 0
    assert "data.json: it gives data.gateway.decision_test.test_wrong, and so does a rule" in done.err


def test_an_overlay_that_init_writes_passes_its_tests_and_every_check(opagate: Opagate):
    made = opagate("policy", "init", "own")
    tested = opagate("policy", "test", "--overlay", "own", "--json")
    checked = opagate("policy", "check", "--overlay", "own", "--json")

    assert (made.status, tested.status, checked.status) == (0, 0, 0), checked.out
    assert len(tested.json["embedded"]) == 4
    assert all(item["name"].startswith("overlay.reports_test.") for item in tested.json["embedded"])
    assert tested.json["opa"] is None or len(tested.json["opa"]) == 4
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


@pytest.mark.opa
def test_own_rules_are_compiled_beside_their_folder(
    opagate: Opagate, opa_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PATH", f"{opa_path.parent}{os.pathsep}{os.environ['PATH']}")
    assert opagate("policy", "init", "own").status == 0

    unmarked = opagate("policy", "compile", "--overlay", "own")
    assert unmarked.status == 2
    assert "--sign" in unmarked.err
    assert not (tmp_path / "own.plan").exists()

    compiled = opagate("policy", "compile", "--overlay", "own", "--sign", "key.pem")

    assert compiled.status == 0, compiled.err
    assert compiled.out.startswith("wrote own.plan, for revision ")
    assert (tmp_path / "key.pem").stat().st_mode & 0o777 == 0o600
    public = compiled.out.splitlines()[-1].strip()
    printed = subprocess.run(
        ["openssl", "pkey", "-in", "key.pem", "-pubout"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert public == f"plan_keys: [{printed.stdout.splitlines()[1]}]"
    again = opagate("policy", "compile", "--overlay", "own", "--sign", "key.pem")
    assert again.out == compiled.out, "an existing key is kept"


@pytest.mark.opa
def test_the_check_of_a_configuration_says_whether_a_compiled_form_counts(
    opagate: Opagate, opa_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PATH", f"{opa_path.parent}{os.pathsep}{os.environ['PATH']}")
    assert opagate("policy", "init", "own").status == 0
    compiled = opagate("policy", "compile", "--overlay", "own", "--sign", "key.pem")
    (tmp_path / "gateway.yaml").write_text("policy: {overlay: own}\n", "utf-8")

    left = [item for item in opagate("check", "--json").json["findings"] if item["what"] == "compiled policy"]
    section = "policy:\n  overlay: own\n" + compiled.out.splitlines()[-1] + "\n"
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
def test_a_plan_that_is_not_of_its_rules_is_found(
    opagate: Opagate, opa_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PATH", f"{opa_path.parent}{os.pathsep}{os.environ['PATH']}")
    assert opagate("policy", "init", "own").status == 0
    place = tmp_path / "own.plan"
    missing = opagate("policy", "compile", "--overlay", "own", "--sign", "key.pem", "--check")
    assert missing.status == 1
    assert not place.exists()

    assert opagate("policy", "compile", "--overlay", "own", "--sign", "key.pem").status == 0
    assert opagate("policy", "compile", "--overlay", "own", "--sign", "key.pem", "--check").status == 0

    written = place.read_bytes()
    stored = store.unpack(written.partition(b"\n")[2], "own.plan")
    foreign = store.unpack(store.SHIPPED.read_bytes(), "shipped")
    forged = store.pack(structs.replace(foreign, rules=stored.rules))
    place.write_bytes(forged)
    unsigned = opagate("policy", "compile", "--overlay", "own", "--sign", "key.pem", "--check")
    assert unsigned.status == 1
    assert "it has no signature" in unsigned.out
    forged = signatures.sign(forged, policy_compile.signing_key(tmp_path / "key.pem"))
    place.write_bytes(forged)
    found = opagate("policy", "compile", "--overlay", "own", "--sign", "key.pem", "--check")
    assert found.status == 1
    assert "own.plan is not the plan of these rules" in found.err + found.out
    assert place.read_bytes() == forged, "a check writes nothing"


def test_compiling_names_a_missing_opa_and_leaves_the_shipped_rules(opagate: Opagate, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert opagate("policy", "init", "own").status == 0

    missing = opagate("policy", "compile", "--overlay", "own", "--sign", "key.pem")
    shipped = opagate("policy", "compile", "--sign", "key.pem")

    assert (missing.status, shipped.status) == (2, 2)
    assert "no `opa` on PATH" in missing.err
    assert "the shipped rules come compiled" in shipped.err
