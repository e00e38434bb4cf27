"""`opagate policy` on small policies."""

from __future__ import annotations

from pathlib import Path

from tests.interaction.cli.conftest import Opagate


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
