"""What decides is broken on purpose, one thing a test: the answer is no, with its code."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import pytest

from tests import tiny_policy
from tests.e2e.conftest import policy
from tests.e2e.faults import config, problems, refused, slow_overlay, vanishing
from tests.e2e.running import BundleServer, Opa, leave, mortal_gateway
from tests.e2e.wire import Caller, call, entries, metric, page, stateless, until
from tests.gateway_process import GatewayProcess, free_port, running_gateway
from tests.machine import find_children, is_alive, needs_proc
from tests.requirements import requirement
from tests.servers.echo import Recorder
from tests.servers.serving import ServerProcess, running


@pytest.fixture
def opa(opa_path: Path, tmp_path: Path) -> Generator[Opa]:
    found = Opa(opa_path, policy(tmp_path), tmp_path)
    found.start()
    yield found
    found.kill()


@pytest.fixture
def with_opa(opa: Opa, echo_server: ServerProcess, tmp_path: Path) -> Generator[GatewayProcess]:
    engine = f"{{kind: opa, url: 'unix://{opa.socket}', deadline: 2s}}"
    with running_gateway(config(echo_server, opa.policy, engine=engine), tmp_path) as gateway:
        yield gateway


@requirement("fault/opa-gone", "operations/readiness")
@pytest.mark.opa
def test_an_opa_that_was_killed_refuses_until_it_is_back(opa: Opa, with_opa: GatewayProcess, recorder: Recorder):
    assert Caller(with_opa).call("echo", text="before").text == "before"
    recorder.take()
    opa.kill()

    refused(Caller(with_opa).call("echo"), "policy/unavailable", recorder)
    until(lambda: "policy" in problems(with_opa))
    assert metric(with_opa, "opagate_policy_ready") == 0
    opa.start()
    until(lambda: not problems(with_opa))
    assert Caller(with_opa).call("echo", text="after").text == "after"
    assert metric(with_opa, "opagate_policy_ready") == 1


@requirement("fault/no-verdict")
@pytest.mark.opa
@pytest.mark.parametrize("snapshots", [True, False])
def test_an_outage_of_opa_ends_no_task(opa: Opa, echo_server: ServerProcess, tmp_path: Path, *, snapshots: bool):
    """OPA is away for more calls than a task may have denials, and the gateway is killed before OPA is back."""
    engine = f"{{kind: opa, url: 'unix://{opa.socket}', deadline: 2s}}"
    settings, port = config(echo_server, opa.policy, engine=engine), free_port()
    with mortal_gateway(settings, tmp_path, port=port) as gateway:
        assert Caller(gateway).call("echo", text="before").text == "before"
        opa.kill()
        codes = [Caller(gateway).call("echo").codes for _ in range(205)]
        assert codes == [["policy/unavailable"]] * 205
        opa.start()
        until(lambda: not problems(gateway))
        assert Caller(gateway).call("echo", text="after").text == "after"
        gateway.process.kill()
        gateway.process.wait()
    leave(tmp_path, settings, port, snapshots=snapshots)

    with mortal_gateway(settings, tmp_path, port=port) as gateway:
        assert Caller(gateway).call("echo", text="again").text == "again"
        assert len({entry["task"]["id"] for entry in entries(tmp_path, "call")}) == 1


@requirement("fault/opa-hung")
@pytest.mark.opa
def test_an_opa_that_hangs_is_late(opa: Opa, with_opa: GatewayProcess, recorder: Recorder):
    opa.signal(signal.SIGSTOP)
    try:
        refused(Caller(with_opa).call("echo"), "policy/late", recorder)
        until(lambda: "policy" in problems(with_opa))
    finally:
        opa.signal(signal.SIGCONT)
    until(lambda: not problems(with_opa))
    assert Caller(with_opa).call("echo", text="after").text == "after"


@pytest.fixture
def bundles(tmp_path: Path) -> Generator[BundleServer]:
    found = BundleServer(policy(tmp_path))
    yield found
    found.stop()


@pytest.fixture
def with_bundles(
    bundles: BundleServer, opa_path: Path, echo_server: ServerProcess, tmp_path: Path
) -> Generator[GatewayProcess]:
    """A gateway with an OPA that fetches its policy. The gateway has no copy to compare it with."""
    opa = Opa(opa_path, bundles.policy, tmp_path, bundles.configuration)
    opa.start()
    engine = f"{{kind: opa, url: 'unix://{opa.socket}', deadline: 2s}}, stale_after: 5s"
    try:
        whole = config(echo_server, opa.policy, engine=engine)
        with running_gateway(whole.replace(f", path: '{opa.policy}'", ""), tmp_path) as gateway:
            yield gateway
    finally:
        opa.kill()


@requirement("fault/stale-bundle", "invariant/10")
@pytest.mark.opa
@pytest.mark.parametrize("how", ["gone", "unusable"])
def test_an_opa_that_gets_no_newer_bundle_is_stale_after_a_while(
    bundles: BundleServer, with_bundles: GatewayProcess, recorder: Recorder, how: Literal["gone", "unusable"]
):
    bundles.broken = how
    assert Caller(with_bundles).call("echo", text="before").text == "before"
    recorder.take()
    until(lambda: "its bundle 'gateway'" in problems(with_bundles).get("policy", ""))

    stale(with_bundles, recorder)
    bundles.broken = ""
    until(lambda: not problems(with_bundles))
    assert Caller(with_bundles).call("echo", text="after").text == "after"
    until(lambda: '"policy.mended"' in with_bundles.printed())


def stale(gateway: GatewayProcess, recorder: Recorder) -> None:
    """Calls are refused as stale, nothing is shown, and it is said."""
    refused(Caller(gateway).call("echo"), "policy/stale", recorder)
    assert Caller(gateway).ask(stateless("resources/read", uri="test://page")).codes == ["policy/stale"]
    assert Caller(gateway).ask(stateless("tools/list")).json["result"]["tools"] == []
    assert entries(gateway.folder, "call")[-1]["reasons"][0]["code"] == "policy/stale"
    assert problems(gateway)["policy"].endswith("every call is refused (policy/stale)")
    assert metric(gateway, "opagate_policy_ready") == 0
    until(lambda: '"policy.stale"' in gateway.printed())
    assert metric(gateway, "opagate_policy_reloads_total", result="stale") == 1


@pytest.fixture(scope="module")
def fake_opa(tmp_path_factory: pytest.TempPathFactory) -> Generator[ServerProcess]:
    with running("tests.servers.fake_opa", tmp_path_factory.mktemp("fake") / "opa.log") as server:
        yield server


@pytest.fixture(scope="module")
def with_fake(
    fake_opa: ServerProcess, echo_server: ServerProcess, tmp_path_factory: pytest.TempPathFactory
) -> Generator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("with-fake")
    engine, tree = f"{{kind: opa, url: '{fake_opa.origin}', deadline: 1s}}", policy(folder)
    # No policy is configured: the gateway takes the policy of this OPA as it is.
    settings = config(echo_server, tree, engine=engine).replace(f", path: '{tree}'", "")
    with running_gateway(settings, folder) as gateway:
        yield gateway


@contextmanager
def answering(server: ServerProcess, mode: str) -> Generator[None]:
    """While the block lasts, the server in OPA's place answers in that way."""

    def become(name: str) -> None:
        urllib.request.urlopen(urllib.request.Request(f"{server.origin}/mode/{name}", b"", method="POST")).close()

    become(mode)
    try:
        yield
    finally:
        become("good")


@requirement("fault/opa-answer", "invariant/10")
@pytest.mark.parametrize(
    ("mode", "code"),
    [
        ("no-result", "policy/undefined"),
        ("rubbish", "policy/malformed"),
        ("error", "policy/unavailable"),
        ("version", "policy/malformed"),
        ("slow", "policy/late"),
    ],
)
def test_an_opa_that_answers_badly_refuses(
    fake_opa: ServerProcess, with_fake: GatewayProcess, recorder: Recorder, mode: str, code: str
):
    assert Caller(with_fake).call("echo", text="before").text == "before"
    recorder.take()
    with answering(fake_opa, mode):
        refused(Caller(with_fake).call("echo"), code, recorder)
        assert Caller(with_fake).ask(stateless("tools/list")).json["result"]["tools"] == []
    assert Caller(with_fake).call("echo", text="after").text == "after"
    assert entries(with_fake.folder, "call")[-2]["reasons"][0]["code"] == code


def test_a_decision_that_comes_after_its_caller_has_left_is_recorded(
    fake_opa: ServerProcess, with_fake: GatewayProcess
):
    before = len(entries(with_fake.folder, "call"))
    with answering(fake_opa, "slow"):
        sent = vanishing(Caller(with_fake), call("echo"))
        until(lambda: metric(with_fake, "opagate_in_flight") == 1)
        sent.close()
        until(lambda: metric(with_fake, "opagate_in_flight") == 0)

    (entry,) = entries(with_fake.folder, "call")[before:]
    assert (entry["effect"], entry["reasons"][0]["code"]) == ("deny", "policy/late")


# --- the embedded engine ---------------------------------------------------------------------------

BY_TEXT = """package gateway.decision

default result := {
	"version": 1, "effect": "deny", "obligations": [], "policy": {"name": "by-text"},
	"reasons": [{"code": "tiny/nobody", "message": "nobody asks"}],
}

_allow := {"version": 1, "effect": "allow", "reasons": [], "obligations": [], "policy": {"name": "by-text"}}

_changes := {
	"version": {"version": 2},
	"string": {"effect": "Allow"},
	"boolean": {"effect": true},
	"unknown": {"obligations": [{"id": "dance", "properties": {}}]},
	"unsupported": {"obligations": [{"id": "redact", "properties": {"pointers": ["/text"]}}]},
	"size": {"obligations": [{"id": "limit", "properties": {"max_bytes": 1024}}]},
	"time": {"obligations": [{"id": "limit", "properties": {"timeout_seconds": 1}}]},
	"nothing": {"obligations": [{"id": "limit", "properties": {}}]},
}

result := object.union(_allow, object.get(_changes, object.get(input.arguments, "text", ""), {})) if input.subject.id
"""


@pytest.fixture(scope="module")
def by_text(echo_server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Generator[GatewayProcess]:
    """A gateway whose policy answers as the argument `text` says."""
    folder = tmp_path_factory.mktemp("by-text")
    files = {
        "gateway/decision/decision.rego": BY_TEXT,
        "gateway/visibility/visibility.rego": tiny_policy.visibility("input.subject.id"),
    }
    tree = tiny_policy.write(folder / "policy", files)
    with running_gateway(config(echo_server, tree), folder) as gateway:
        yield gateway


@requirement("fault/version", "fault/obligation")
@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("version", "policy/malformed"),
        ("string", "policy/malformed"),
        ("boolean", "policy/malformed"),
        ("unknown", "policy/obligation"),
        ("unsupported", "policy/obligation"),
        ("nothing", "policy/obligation"),
    ],
)
def test_an_allow_that_is_not_understood_whole_is_none(
    by_text: GatewayProcess, recorder: Recorder, text: str, code: str
):
    assert Caller(by_text).call("echo", text="plain").text == "plain"
    recorder.take()
    refused(Caller(by_text).call("echo", text=text), code, recorder)


@requirement("fault/limit")
def test_an_answer_beyond_the_bytes_that_policy_allows_is_cut(by_text: GatewayProcess):
    with Caller(by_text).open("POST", call("big", text="size", mib=1, sse=True)) as answer:
        body = answer.read()

    assert len(body) < 2048
    assert b"larger than policy allows" in body
    until(lambda: [entry["outcome"] for entry in entries(by_text.folder, "settled")][-1:] == ["unknown"])


def test_a_small_answer_beyond_the_bytes_that_policy_allows_is_an_error(by_text: GatewayProcess):
    arguments = {"text": "size", "code": 200, "headers": {"content-type": "application/json"}, "body": " " * 2000}
    answer = Caller(by_text).call("status", **arguments)

    assert "larger than policy allows" in answer.json["error"]["message"]


@requirement("fault/limit")
@pytest.mark.parametrize("tool", ["silent", "hold"])
def test_an_answer_beyond_the_time_that_policy_allows_is_cut(by_text: GatewayProcess, recorder: Recorder, tool: str):
    answer = Caller(by_text).call(tool, text="time", key=f"overdue-{tool}")

    assert "policy allows" in answer.json["error"]["message"]
    assert recorder.wait("disconnect", f"overdue-{tool}")
    until(lambda: [entry["outcome"] for entry in entries(by_text.folder, "settled")][-1:] == ["unknown"])


@requirement("fault/late", "invariant/10")
def test_an_engine_that_is_late_refuses(echo_server: ServerProcess, recorder: Recorder, tmp_path: Path):
    """No trial can know every argument, so a rule may be slow on one call and pass the trial."""
    overlay = slow_overlay(tmp_path, 'input.arguments.text == "slow"')
    settings = config(
        echo_server, policy(tmp_path), engine=f"{{kind: embedded, deadline: 100ms}}, overlay: '{overlay}'"
    )
    with running_gateway(settings, tmp_path) as gateway:
        assert Caller(gateway).call("echo", text="quick").text == "quick"
        recorder.take()
        refused(Caller(gateway).call("echo", text="slow"), "policy/late", recorder)


@requirement("fault/slow-policy")
def test_a_deadline_that_the_policy_cannot_keep_keeps_the_gateway_from_starting(
    echo_server: ServerProcess, tmp_path: Path
):
    settings = config(echo_server, policy(tmp_path), engine="{kind: embedded, deadline: 0.001ms}")

    with pytest.raises(AssertionError, match="ended with 2"), running_gateway(settings, tmp_path):
        pass
    printed = (tmp_path / "gateway.log").read_text("utf-8")
    assert "ms of processor time" in " ".join(printed.split())
    assert "Traceback" not in printed


ENDLESS_TEST = """package gateway.endless_test

test_endless if count({[i, j, k, l] |
	some i in numbers.range(1, 1000)
	some j in numbers.range(1, 1000)
	some k in numbers.range(1, 1000)
	some l in numbers.range(1, 1000)
	i + j + k + l < 0
}) == 1
"""


def add_endless_test(tree: Path) -> None:
    """Add a rule to a policy, so that its tests run, and a test without end."""
    (tree / "endless_test.rego").write_text(ENDLESS_TEST, "utf-8")
    (tree / "added.rego").write_text("package gateway.added\n\nvalue := 7\n", "utf-8")


def trials(gateway: int) -> list[int]:
    """Return the processes in which a gateway tries a policy, or has OPA test it."""
    found: list[int] = []
    for process in find_children(gateway):
        with suppress(FileNotFoundError, ProcessLookupError):
            words = Path(f"/proc/{process}/cmdline").read_bytes()
            if b"trial_process" in words or b"/opa\0test\0" in words:
                found.append(process)
    return found


def wait_for_trial(gateway: int) -> int:
    """Return the process that tries the endless test: the only one that is there at two looks."""
    looks: list[list[int]] = [[]]

    def is_same_as_before() -> bool:
        looks.append(trials(gateway))
        return len(looks[-1]) == 1 and looks[-2] == looks[-1]

    until(is_same_as_before)
    return looks[-1][0]


@needs_proc
@requirement("fault/slow-policy")
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_calls_go_on_while_a_policy_is_tried_and_the_trial_ends_with_the_gateway(
    echo_server: ServerProcess, tmp_path: Path, end: signal.Signals
):
    tree = policy(tmp_path)
    with mortal_gateway(config(echo_server, tree), tmp_path) as gateway:
        add_endless_test(tree)
        trial = wait_for_trial(gateway.process.pid)

        assert [Caller(gateway).call("echo", text=f"{number}").text for number in range(20)] == [*map(str, range(20))]
        assert trials(gateway.process.pid) == [trial]
        gateway.process.send_signal(end)

        assert gateway.process.wait(60) == (0 if end == signal.SIGTERM else -signal.SIGKILL)
        until(lambda: not is_alive(trial))
        assert "Traceback" not in gateway.printed()


@needs_proc
@requirement("fault/slow-policy")
def test_a_gateway_can_be_stopped_while_it_tries_its_first_policy(echo_server: ServerProcess, tmp_path: Path):
    tree = policy(tmp_path)
    add_endless_test(tree)
    (tmp_path / "gateway.yaml").write_text(f"listen: 127.0.0.1:{free_port()}\n{config(echo_server, tree)}", "utf-8")
    with subprocess.Popen(
        [sys.executable, "-m", "gateway", "up", "--config", str(tmp_path / "gateway.yaml")],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as starting:
        trial = wait_for_trial(starting.pid)

        starting.send_signal(signal.SIGTERM)
        printed, _ = starting.communicate(timeout=300)

    assert b"Traceback" not in printed
    assert starting.returncode in {0, -signal.SIGTERM, 128 + signal.SIGTERM}
    until(lambda: not is_alive(trial))


@requirement("fault/reload")
def test_a_policy_that_breaks_leaves_the_last_good_one_in_force(
    echo_server: ServerProcess, recorder: Recorder, tmp_path: Path
):
    tree = policy(tmp_path)
    grants = tree / "gateway/grants/data.yaml"
    good = grants.read_text("utf-8")
    with running_gateway(config(echo_server, tree), tmp_path) as gateway:
        revision = json.loads(page(gateway, "/readyz")[1])["policy"]["revision"]
        grants.write_text("upstreams: [this is not\n", "utf-8")
        until(lambda: "policy" in problems(gateway))

        assert Caller(gateway).call("echo", text="still").text == "still"
        assert json.loads(page(gateway, "/readyz")[1])["policy"]["revision"] == revision
        assert metric(gateway, "opagate_policy_ready") == 0
        assert metric(gateway, "opagate_policy_reloads_total", result="problem") == 1
        assert '"policy.broken"' in gateway.printed()

        grants.write_text(good, "utf-8")
        until(lambda: not problems(gateway))
        assert metric(gateway, "opagate_policy_ready") == 1
        until(lambda: '"policy.mended"' in gateway.printed())
        grants.write_text(good.replace('tools: ["*"]', "tools: [nothing]"), "utf-8")
        until(lambda: json.loads(page(gateway, "/readyz")[1])["policy"]["revision"] != revision)
        recorder.take()
        refused(Caller(gateway).call("echo"), "tool/not-granted", recorder)
    (start,) = entries(tmp_path, "start")
    assert start["policy"]["revision"] == revision
    (changed,) = entries(tmp_path, "policy")
    assert changed["revision"] != revision


@requirement("fault/stale", "invariant/10")
def test_a_policy_that_is_kept_out_makes_the_one_before_it_stale(
    echo_server: ServerProcess, recorder: Recorder, tmp_path: Path
):
    tree = policy(tmp_path)
    grants = tree / "gateway/grants/data.yaml"
    good = grants.read_text("utf-8")
    engine = "{kind: embedded, deadline: 5s}, stale_after: 2s"
    with running_gateway(config(echo_server, tree, engine=engine), tmp_path) as gateway:
        grants.write_text("upstreams: [this is not\n", "utf-8")
        until(lambda: "stays in force" in problems(gateway).get("policy", ""))
        assert Caller(gateway).call("echo", text="still").text == "still"
        recorder.take()
        until(lambda: "policy/stale" in problems(gateway)["policy"])

        stale(gateway, recorder)
        assert "data.yaml" in problems(gateway)["policy"]
        grants.write_text(good, "utf-8")
        until(lambda: not problems(gateway))
        assert Caller(gateway).call("echo", text="after").text == "after"
        until(lambda: '"policy.mended"' in gateway.printed())


@requirement("fault/start")
def test_a_policy_that_cannot_be_loaded_keeps_the_gateway_from_starting(echo_server: ServerProcess, tmp_path: Path):
    tree = policy(tmp_path)
    (tree / "gateway/decision/decision.rego").write_text("package gateway.decision\n\nresult := {", "utf-8")

    with pytest.raises(AssertionError, match="ended with 2"), running_gateway(config(echo_server, tree), tmp_path):
        pass
    printed = (tmp_path / "gateway.log").read_text("utf-8")
    assert "Traceback" not in printed
    assert "decision.rego" in printed
