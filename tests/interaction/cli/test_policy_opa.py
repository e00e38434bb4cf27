"""`opagate policy push`, `status` and `diff` on a real OPA, and without one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.policy.folder import bundle
from tests import tiny_policy
from tests.e2e.wire import until
from tests.interaction.cli.conftest import Opagate
from tests.unit.policy.conftest import AGENT, GRANTS

CONFIG = 'policy: {{engine: {{kind: opa, url: "unix://{0}/opa.sock"{1}}}, path: rego}}\n'
FILES = {
    ".manifest": '{"roots": ["gateway"]}',
    "gateway/decision/decision.rego": tiny_policy.decision(AGENT),
    "gateway/visibility/visibility.rego": tiny_policy.visibility(AGENT),
    "gateway/grants/data.yaml": GRANTS,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "gateway.yaml").write_text(CONFIG.format(tmp_path, ""), "utf-8")
    tiny_policy.write(tmp_path / "rego", FILES)
    return tmp_path


@pytest.fixture
def opa(opa_path: Path, folder: Path) -> Iterator[None]:
    socket = folder / "opa.sock"
    with (folder / "opa.log").open("wb") as log:
        process = subprocess.Popen(
            [opa_path, "run", "--server", "--addr", f"unix://{socket}", "--log-level", "error"], stdout=log, stderr=log
        )
    until(socket.exists)
    yield
    process.kill()
    process.wait()


@pytest.mark.opa
def test_a_policy_is_pushed_looked_at_and_compared(opagate: Opagate, folder: Path, opa: None):
    revision = bundle.read_folder(folder / "rego").revision
    before = opagate("policy", "status", "--json")
    assert (before.status, before.json["agrees"], before.json["opa"]["revision"]) == (1, False, None)
    assert opagate("policy", "diff").status == 1

    pushed = opagate("policy", "push", "--json")
    assert (pushed.status, pushed.json) == (0, {"revision": revision, "modules": 2, "deleted": 0, "data": 1})
    after = opagate("policy", "status", "--json")
    assert (after.status, after.json["agrees"]) == (0, True)
    assert after.json["opa"]["revision"] == after.json["revision"] == revision
    assert after.json["opa"]["version"].startswith("1.")
    shown = opagate("policy", "status")
    assert "they agree" in shown.out
    assert revision in shown.out
    same = opagate("policy", "diff")
    assert (same.status, same.out) == (0, "")
    assert "as it is here" in opagate("policy", "push").out

    (folder / "grants.yaml").write_text("upstreams: {agents: [other]}\n", "utf-8")
    tiny_policy.write(folder / "rego", {"gateway/more/more.rego": "package gateway.more\n\nx := 1\n"})
    differs = opagate("policy", "diff", "--grants", "grants.yaml")
    assert differs.status == 1
    assert "--- OPA/data/gateway/grants\n+++ here/data/gateway/grants\n" in differs.out
    assert '-      "spiffe://corp/agent/triage"\n+      "other"' in differs.out
    assert "--- OPA/gateway/more/more.rego" in differs.out
    changes = opagate("policy", "diff", "--grants", "grants.yaml", "--json").json
    assert [item["name"] for item in changes["changes"]] == ["gateway/more/more.rego", "data/gateway/grants"]
    assert "they differ" in opagate("policy", "status", "--grants", "grants.yaml").out
    assert opagate("policy", "push", "--grants", "grants.yaml").status == 0
    assert opagate("policy", "status", "--grants", "grants.yaml").status == 0
    assert opagate("policy", "status").status == 1


@pytest.mark.opa
def test_a_policy_that_the_gateway_would_not_load_is_not_pushed(opagate: Opagate, folder: Path, opa: None):
    assert opagate("policy", "push").status == 0
    tiny_policy.write(folder / "rego", {"gateway/decision/decision.rego": tiny_policy.decision("input.x == nothing")})

    refused = opagate("policy", "push")

    assert refused.status == 2
    assert "gateway/decision/decision.rego:18: " in refused.err
    tiny_policy.write(folder / "rego", FILES)
    assert opagate("policy", "status").status == 0


def test_an_opa_that_is_not_there_and_an_engine_that_is_none_are_told(opagate: Opagate, folder: Path):
    for command in ("push", "status", "diff"):
        done = opagate("policy", command)
        assert (done.status, done.out) == (2, "")
        assert "OPA cannot be reached: No such file or directory" in done.err
    (folder / "gateway.yaml").write_text("policy: {path: rego}\n", "utf-8")

    done = opagate("policy", "push")

    assert done.status == 2
    assert "policy.engine is embedded" in done.err


def test_without_the_library_a_command_says_what_to_install(opagate: Opagate, folder: Path):
    (folder / "opa_client").mkdir()
    (folder / "opa_client/__init__.py").write_text('raise ModuleNotFoundError("no", name="opa_client")\n', "utf-8")

    done = opagate("policy", "status", environment={"PYTHONPATH": f"{folder}"})

    assert done.status == 2
    assert "the Python package opa_client is missing" in done.err
    assert "pip install 'opagate[opa]'" in done.err


def test_a_token_is_never_printed(opagate: Opagate, folder: Path):
    (folder / "gateway.yaml").write_text(CONFIG.format(folder, ", token: '${OPA_TOKEN}'"), "utf-8")
    for command in ("push", "status", "diff"):
        done = opagate("policy", command, environment={"OPA_TOKEN": "s3cret-of-opa"})
        assert done.status == 2
        assert "s3cret" not in done.out + done.err
        missing = opagate("policy", command)
        assert missing.status == 2
        assert "OPA_TOKEN" in missing.err


@pytest.mark.opa
def test_the_check_names_a_grant_that_cannot_be_read_and_a_policy_that_was_not_pushed(
    opagate: Opagate, folder: Path, opa: None
):
    (folder / "gateway.yaml").write_text(
        f'policy: {{engine: {{kind: opa, url: "unix://{folder}/opa.sock"}}, grants: grants.yaml}}\n', "utf-8"
    )
    grants = "upstreams: {files: [{id: a, agents: [b], issuers: [c], tools: [d], effects: [read]}]}\n"
    (folder / "grants.yaml").write_text(grants.replace("tools", "tolls"), "utf-8")

    def failed() -> list[str]:
        checks = opagate("check", "--json").json["findings"]
        return [item["found"] for item in checks if item["state"] == "fail" and item["what"] in {"policy", "grants"}]

    assert any("grants.yaml" in found and "tolls" in found for found in failed())
    (folder / "grants.yaml").write_text(grants, "utf-8")
    (found,) = failed()
    assert "OPA has not taken the configured policy" in found
    assert "run `opagate policy push`" in found
    assert opagate("policy", "push").status == 0
    assert failed() == []
