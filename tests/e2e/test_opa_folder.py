"""An edit of a folder that OPA watches, as the record, `/readyz`, the metrics and the log of a gateway show it."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from gateway.policy.folder import bundle
from tests.e2e.conftest import policy
from tests.e2e.faults import config, problems
from tests.e2e.running import Opa, mortal_gateway
from tests.e2e.wire import Caller, entries, metric, until, verified
from tests.gateway_process import free_port
from tests.requirements import requirement
from tests.servers.serving import ServerProcess

GRANTS = "gateway/grants/data.yaml"


@pytest.fixture
def opa(opa_path: Path, tmp_path: Path) -> Generator[Opa]:
    found = Opa(opa_path, policy(tmp_path), tmp_path, options=("--watch",))
    found.start()
    yield found
    found.kill()


def revisions(folder: Path) -> list[str]:
    """Return the revisions that the journal says came into force, at a start and later."""
    started = [entry["policy"]["revision"] for entry in entries(folder, "start")]
    return started + [entry["revision"] for entry in entries(folder, "policy")]


@requirement("operations/opa-folder")
@pytest.mark.opa
def test_edits_of_a_folder_that_opa_watches_are_recorded_or_told(opa: Opa, echo_server: ServerProcess, tmp_path: Path):
    engine = f"{{kind: opa, url: 'unix://{opa.socket}', deadline: 2s}}"
    settings, port = config(echo_server, opa.policy, engine=engine), free_port()
    settings = settings.replace("reload: 50ms", "reload: 500ms")
    grants = opa.policy / GRANTS
    first = bundle.read_folder(opa.policy).revision
    with mortal_gateway(settings, tmp_path, port=port) as gateway:
        assert Caller(gateway).call("echo", text="a").text == "a"
        grants.write_text(grants.read_text("utf-8").replace("id: some", "id: edited"), "utf-8")
        second = bundle.read_folder(opa.policy).revision
        until(lambda: revisions(tmp_path) == [first, second])
        assert not problems(gateway)

        decision = opa.policy / "gateway/decision/decision.rego"
        text = decision.read_text("utf-8")
        decision.write_text(f"{text}\n\nbroken if {{\n", "utf-8")
        until(lambda: "gateway/decision/decision.rego" in problems(gateway).get("policy", ""))
        assert "OPA has not taken the configured policy" in problems(gateway)["policy"]
        assert metric(gateway, "opagate_policy_ready") == 0
        until(lambda: "policy.broken" in gateway.printed())
        assert Caller(gateway).call("echo", text="b").text == "b"

        decision.write_text(text, "utf-8")
        until(lambda: not problems(gateway))
        assert metric(gateway, "opagate_policy_ready") == 1
        until(lambda: "policy.mended" in gateway.printed())
        assert revisions(tmp_path) == [first, second]
        assert {entry["policy"]["revision"] for entry in entries(tmp_path, "call")} == {first, second}
        gateway.process.kill()
        gateway.process.wait()

    with mortal_gateway(settings, tmp_path, port=port) as gateway:
        assert Caller(gateway).call("echo", text="c").text == "c"
        assert entries(tmp_path, "call")[-1]["policy"]["revision"] == second
        assert set(revisions(tmp_path)) == {first, second}
        gateway.process.terminate()
        gateway.process.wait()
    assert verified(tmp_path).ok
