"""A shadow policy decides the calls of a running gateway too. It counts for nothing, and no call waits for it."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import policy
from tests.e2e.faults import config, slow_overlay
from tests.e2e.test_compiled_policy import OVERLAY
from tests.e2e.wire import Caller, entries, metric, until
from tests.gateway_process import GatewayProcess, running_gateway
from tests.interaction.cli.conftest import run_opagate
from tests.servers.serving import ServerProcess

pytestmark = pytest.mark.opa
SECRET = "AKIAQ3EGRVXZ5LKJ2MNP"
LEAKY = OVERLAY.replace('"code": "acme/no"', '"code": "acme/no", "message": input.arguments.text')


def overlay(folder: Path, text: str = OVERLAY) -> Path:
    """Write an overlay, and return its folder."""
    (folder / "acme").mkdir(parents=True, exist_ok=True)
    (folder / "acme/acme.rego").write_text(text, "utf-8")
    return folder


def setup(server: ServerProcess, folder: Path, shadow: str, more: str = "") -> str:
    return config(server, policy(folder), more).replace("policy: {", f"policy: {{shadow: {shadow}, ")


def results(gateway: GatewayProcess) -> dict[str, float]:
    names = ("agreed", "differed", "failed", "dropped")
    return {name: metric(gateway, "opagate_policy_shadow_total", result=name) for name in names}


def decided(gateway: GatewayProcess) -> float:
    return sum(results(gateway).values())


def is_in_force(gateway: GatewayProcess) -> bool:
    return "policy.shadow-loaded" in gateway.printed()


def test_a_difference_is_recorded_and_the_call_passes(echo_server: ServerProcess, opa_path: Path, tmp_path: Path):
    overlay(tmp_path / "stricter")
    with running_gateway(setup(echo_server, tmp_path, "stricter"), tmp_path) as gateway:
        until(lambda: is_in_force(gateway))
        assert Caller(gateway).call("echo", text="acme").text == "acme"
        assert Caller(gateway).call("echo", text="hello").text == "hello"
        until(lambda: decided(gateway) == 2)
        assert results(gateway) == {"agreed": 1, "differed": 1, "failed": 0, "dropped": 0}

    (found,) = entries(tmp_path, "shadow")
    assert found["id"] == entries(tmp_path, "call")[0]["id"]
    assert found["enforced"] == {"effect": "allow", "codes": [], "obligations": []}
    assert (found["shadow"]["effect"], found["shadow"]["codes"]) == ("deny", ["acme/no"])
    explained = run_opagate(tmp_path, "journal", "explain", found["id"])
    summed = json.loads(run_opagate(tmp_path, "policy", "diff", "--since", "1h", "--json").out)
    assert "would deny (acme/no)" in explained.out
    assert summed["calls"] == 2
    assert [(row["enforced"], row["shadow"], row["calls"]) for row in summed["changes"]] == [
        ({"effect": "allow", "codes": []}, {"effect": "deny", "codes": ["acme/no"]}, 1)
    ]
    assert summed["changes"][0]["examples"] == [found["id"]]


def test_a_changed_shadow_comes_into_force_and_a_broken_one_does_not(
    echo_server: ServerProcess, opa_path: Path, tmp_path: Path
):
    """A shadow that is broken at the start keeps no gateway from its start."""
    folder = overlay(tmp_path / "own", "package overlay.acme\n\ndenials contains {")
    with running_gateway(setup(echo_server, tmp_path, "own"), tmp_path) as gateway:
        until(lambda: "policy.shadow-broken" in gateway.printed())
        assert Caller(gateway).call("echo", text="acme").text == "acme"
        checked = run_opagate(tmp_path, "check")
        overlay(folder)
        until(lambda: is_in_force(gateway))
        assert Caller(gateway).call("echo", text="acme").text == "acme"
        until(lambda: results(gateway)["differed"] == 1)

    assert checked.status == 1
    assert "shadow" in checked.out


def test_a_slow_shadow_fails_alone(echo_server: ServerProcess, opa_path: Path, tmp_path: Path):
    shadow = slow_overlay(tmp_path, 'input.arguments.text == "slow"')
    text = setup(echo_server, tmp_path, str(shadow)).replace("deadline: 5s", "deadline: 100ms")
    with running_gateway(text, tmp_path) as gateway:
        until(lambda: is_in_force(gateway))
        assert Caller(gateway).call("echo", text="slow").text == "slow"
        assert Caller(gateway).call("echo", text="hello").text == "hello"
        until(lambda: decided(gateway) == 2)
        assert results(gateway) == {"agreed": 1, "differed": 0, "failed": 1, "dropped": 0}


def test_a_killed_shadow_comes_again(echo_server: ServerProcess, opa_path: Path, tmp_path: Path):
    overlay(tmp_path / "own")
    with running_gateway(setup(echo_server, tmp_path, "own"), tmp_path) as gateway:
        until(lambda: is_in_force(gateway))
        (shadow,) = shadow_processes(gateway)
        os.kill(shadow, signal.SIGSTOP)
        for number in range(300):
            assert Caller(gateway).call("echo", text=str(number)).text == str(number)
        until(lambda: results(gateway)["dropped"] > 0)
        os.kill(shadow, signal.SIGKILL)
        until(lambda: decided(gateway) == 300)

        assert results(gateway)["agreed"] > 200
        assert shadow_processes(gateway) != [shadow]


def shadow_processes(gateway: GatewayProcess) -> list[int]:
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().split(b"\0")
            parent = (path / "stat").read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        if b"gateway.policy.trials.shadow_process" in words and int(parent) == gateway.process.pid:
            found.append(int(path.name))
    return found


def test_the_record_has_no_words_of_a_shadow(echo_server: ServerProcess, opa_path: Path, tmp_path: Path):
    """A rule of the shadow may tell arguments in its reason."""
    overlay(tmp_path / "own", LEAKY.replace('input.arguments.text == "acme"', "input.arguments.text"))
    with running_gateway(setup(echo_server, tmp_path, "own"), tmp_path) as gateway:
        until(lambda: is_in_force(gateway))
        Caller(gateway).call("echo", text=SECRET)
        until(lambda: len(entries(tmp_path, "shadow")) == 1)

        assert SECRET not in json.dumps(entries(tmp_path))
        assert SECRET not in gateway.printed()


@pytest.mark.parametrize("built", [False, True])
def test_gateway_shadow_replay_and_can_give_the_same_reasons(
    echo_server: ServerProcess,
    opa_path: Path,
    tmp_path: Path,
    built: bool,  # noqa: FBT001 - a parameter of pytest
):
    """Of a rule of the overlay, of the operator's grants, and of the operator's limits."""
    grants = "upstreams: {echo: [{id: echoes, agents: ['*'], issuers: ['*'], tools: [echo]}]}"
    (tmp_path / "grants.yaml").write_text(grants, "utf-8")
    overlay(tmp_path / "own")
    more = "journal: {arguments: full}\nlimits: {task: {calls: {soft: 0}}}\n"
    text = setup(echo_server, tmp_path, "built" if built else "own", more)
    text = text.replace("policy: {", "policy: {grants: grants.yaml, overlay: own, ")
    (tmp_path / "gateway.yaml").write_text(text, "utf-8")
    if built:
        done = run_opagate(tmp_path, "policy", "build", "built")
        assert done.status == 0, done.err
    with running_gateway(text, tmp_path) as gateway:
        until(lambda: is_in_force(gateway))
        for tool, said in CALLS:
            Caller(gateway).call(tool, text=said)
        until(lambda: decided(gateway) == len(CALLS))
        assert results(gateway)["agreed"] == len(CALLS), entries(tmp_path, "shadow")

    live = [codes_of(entry) for entry in entries(tmp_path, "call")]
    (tmp_path / "traces").write_text(run_opagate(tmp_path, "journal", "export", "--format", "trace").out, "utf-8")
    replayed = run_opagate(tmp_path, "policy", "replay", "traces", "--json").out.splitlines()
    asked = [
        run_opagate(tmp_path, "policy", "can", "dev", f"echo/{tool}", json.dumps({"text": said}), "--json")
        for tool, said in CALLS
    ]
    assert live == [["budget/calls"], ["acme/no"], ["tool/not-granted"]]
    assert [json.loads(line)["codes"] for line in replayed] == live
    assert [codes_of(json.loads(done.out)) for done in asked] == live


CALLS = (("echo", "hello"), ("echo", "acme"), ("big", "hello"))


def codes_of(found: dict[str, Any]) -> list[str]:
    return [reason["code"] for reason in found["reasons"]]
