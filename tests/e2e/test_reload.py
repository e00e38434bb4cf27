"""A running gateway whose labels, upstreams and limits are changed in its files, before an HTTP and a stdio server."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

from tests import forked_gateway
from tests.e2e.conftest import policy
from tests.e2e.running import mortal_gateway
from tests.e2e.wire import Caller, call, caller, entries, legacy, metric, page, stateless, until, verified
from tests.gateway_process import GatewayProcess, running_gateway
from tests.requirements import requirement
from tests.servers.serving import ROOT, ServerProcess

ISOLATION: Final = "isolation: {kind: none, accepted_by: tests, until: 2099-01-01}"


VARIABLES: Final = {"SHOWN": "nothing"}


class Site:
    """A gateway with its two files, which a test rewrites as an operator would."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self.gateway = gateway
        self._base = (gateway.folder / "gateway.yaml").read_text("utf-8")

    def write(self, name: str, text: str) -> None:
        """Replace a file as editors do: by a new file with its name."""
        fresh = self.gateway.folder / f".{name}.new"
        fresh.write_text(text, "utf-8")
        fresh.replace(self.gateway.folder / name)

    def configure(self, *changes: tuple[str, str]) -> None:
        """Write the first configuration with changes."""
        text = self._base
        for before, after in changes:
            assert before in text
            text = text.replace(before, after)
        self.write("gateway.yaml", text)

    def label(self, **tools: str) -> None:
        """Write the labels of the HTTP server's tools."""
        written = ", ".join(f"{name}: {labels}" for name, labels in tools.items())
        self.write("labels.yaml", f"format: 1\nupstreams: {{echo: {{tools: {{{written}}}}}}}\n")

    def reloaded(self, times: int) -> None:
        """Wait until so many changes have come into force."""
        until(lambda: self.gateway.printed().count("configuration.loaded") >= times, within=60)

    def caller(self, agent: str, upstream: str = "echo") -> Caller:
        return caller(self.gateway, agent, upstream)

    def decided(self) -> list[dict[str, Any]]:
        return entries(self.gateway.folder, "call")


def set_up(folder: Path, echo: ServerProcess) -> str:
    """Write the files beside the configuration, and return the configuration."""
    (folder / "labels.yaml").write_text("format: 1\n", "utf-8")
    (folder / "words").write_text("notifications/none\n", "utf-8")
    command = json.dumps([sys.executable, "-m", "tests.servers.talkative", str(folder / "words")])
    return (
        "identity: [{kind: development}]\n"
        f"policy: {{engine: {{kind: embedded, deadline: 20s}}, path: '{policy(folder)}', reload: 100ms}}\n"
        "labels: labels.yaml\n"
        "limits: {drain: 20s}\n"
        "upstreams:\n"
        f"  echo: {{url: '{echo.mcp}', audience: echo, environment: test}}\n"
        f"  local: {{command: {command}, env: {{SHOWN: '${{SHOWN}}'}}, cwd: '{ROOT}', {ISOLATION}, audience: local, environment: test,\n"
        "    tools: {'*': {effect: read, egress: false, sensitivity: internal}}}\n"
    )


@pytest.fixture
def here(echo_server: ServerProcess, tmp_path: Path) -> Generator[Site]:
    with running_gateway(set_up(tmp_path, echo_server), tmp_path, environment=VARIABLES) as gateway:
        yield Site(gateway)


READ: Final = "{effect: read, egress: false, sensitivity: internal}"


@requirement("operations/reload")
def test_a_label_in_the_labels_file_counts_for_the_next_call_and_falls_back_to_the_strictest_when_it_goes(here: Site):
    assert here.caller("alice").call("echo", text="1").status == 200
    here.label(echo=READ)
    here.reloaded(1)
    here.caller("alice").call("echo", text="2")
    here.write("labels.yaml", "format: 1\n")
    here.reloaded(2)
    here.caller("alice").call("echo", text="3")

    assert [entry["target"]["effect"] for entry in here.decided()] == ["write", "read", "write"]
    assert [entry["changed"] for entry in entries(here.gateway.folder, "configuration")] == [{"echo": ["tools"]}] * 2
    judged = [entry["history"]["tools"]["echo/echo"] for entry in entries(here.gateway.folder, "configuration")]
    assert judged == [{"write": False}, {"write": True, "assumed": True}]
    assert all(len(entry["digest"]) == 64 for entry in entries(here.gateway.folder, "configuration"))


@requirement("operations/reload")
def test_a_session_of_an_untouched_upstream_goes_on_while_others_are_added_changed_and_removed(here: Site):
    local = here.caller("alice", "local")
    begun = local.ask(
        legacy("initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo={"name": "raw", "version": "1"})
    )
    session = {"mcp-session-id": begun.headers["mcp-session-id"]}
    processes = metric(here.gateway, "opagate_stdio_processes", upstream="local")

    here.configure(("upstreams:\n", f"upstreams:\n  more: {{url: '{echo_of(here)}', audience: more}}\n"))
    here.reloaded(1)
    assert here.caller("alice", "more").call("echo", text="new").status == 200
    assert page(here.gateway, "/.well-known/oauth-protected-resource/mcp/more")[0] == 200

    here.configure(("audience: echo", "audience: echo, trust: trusted"))
    here.reloaded(2)
    gone = here.caller("alice", "more").call("echo", text="gone")
    assert (gone.status, gone.codes) == (404, ["upstream/unknown"])
    assert page(here.gateway, "/.well-known/oauth-protected-resource/mcp/more")[0] == 404

    assert local.ask(legacy("tools/list"), headers=session).status == 200
    assert metric(here.gateway, "opagate_stdio_processes", upstream="local") == processes


def echo_of(here: Site) -> str:
    text = (here.gateway.folder / "gateway.yaml").read_text("utf-8")
    return text.partition("echo: {url: '")[2].partition("'")[0]


@requirement("operations/reload")
@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("labels.yaml", "format: 1\nupstreams: {echo: {tools: {echo: {efect: read}}}}\n", "did you mean 'effect'?"),
        (
            "labels.yaml",
            "format: 1\nupstreams: {echo: {tools: {echo: {effect: re",
            "labels.yaml cannot be read: line 3",
        ),
        ("gateway.yaml", "upstreams: {}\nlimits: {conect: 5s}\n", "did you mean 'connect'?"),
    ],
)
def test_a_broken_file_keeps_what_is_in_force_and_says_so(here: Site, name: str, text: str, said: str):
    here.label(echo=READ)
    here.reloaded(1)
    here.write(name, text)
    until(lambda: page(here.gateway, "/readyz")[0] == 503)

    problem = json.loads(page(here.gateway, "/readyz")[1])["problems"]["configuration"]
    assert said in problem
    assert name in problem
    assert metric(here.gateway, "opagate_configuration_ready") == 0
    assert here.caller("alice").call("echo", text="still").text == "still"
    assert here.decided()[-1]["target"]["effect"] == "read"

    here.configure()
    here.label(echo=READ, add=READ)
    until(lambda: page(here.gateway, "/readyz")[0] == 200)
    assert metric(here.gateway, "opagate_configuration_ready") == 1


@requirement("operations/reload")
def test_a_setting_that_needs_a_restart_is_named_and_the_rest_of_its_file_counts(here: Site):
    here.configure(("drain: 20s", "drain: 21s, request_bytes: 1KiB"), ("labels: ", "errors: protocol\nlabels: "))
    here.reloaded(1)

    assert json.loads(page(here.gateway, "/readyz")[1])["needs_restart"] == ["errors"]
    assert "configuration.waits" in here.gateway.printed()
    arguments = ["check", "--config", "gateway.yaml"]
    checked = forked_gateway.run(arguments, here.gateway.folder, os.environ | VARIABLES)
    assert "changed, needs a restart: errors" in checked.stdout
    assert here.caller("alice").call("echo", text="x" * 2000).status == 413
    assert here.caller("alice").call("echo", text="short").text == "short"

    here.configure()
    here.reloaded(2)
    assert json.loads(page(here.gateway, "/readyz")[1])["needs_restart"] == []


@requirement("operations/reload")
def test_a_limit_of_tasks_that_is_lowered_counts_for_a_task_that_is_open(here: Site):
    here.label(echo=READ)
    here.reloaded(1)
    alice, mallory = (here.caller(name) for name in ("alice", "mallory"))
    assert [each.call("echo", text="1").status for each in (alice, mallory)] == [200, 200]
    assert here.caller("alice", "local").ask(call("say", stateless)).json["result"]["content"]

    loaded = here.gateway.printed().count('"policy.loaded"')
    here.configure(("drain: 20s", "drain: 20s, task: {audiences: {soft: 1, hard: 2}}"))
    here.reloaded(2)
    until(lambda: here.gateway.printed().count('"policy.loaded"') > loaded, within=120)

    assert alice.call("echo", text="2").text == "2"
    asked = here.caller("mallory", "local").ask(call("say", stateless))
    assert asked.codes == ["fan-out/audiences", "approval/unavailable"]


@requirement("operations/reload")
def test_a_folder_of_files_swapped_by_its_link_counts_as_a_whole(here: Site):
    """As the kubelet and others do: the files are links into a folder, which is another one at once."""
    folder = here.gateway.folder
    for version, effect in (("one", "read"), ("two", "destructive")):
        (folder / version).mkdir()
        text = f"format: 1\nupstreams: {{echo: {{tools: {{echo: {{effect: {effect}, egress: false}}}}}}}}\n"
        (folder / version / "labels.yaml").write_text(text, "utf-8")
    (folder / "data").symlink_to("one")
    (folder / "link").symlink_to("data/labels.yaml")
    (folder / "link").replace(folder / "labels.yaml")
    here.reloaded(1)
    (folder / "data.new").symlink_to("two")
    (folder / "data.new").replace(folder / "data")
    here.reloaded(2)
    here.caller("alice").call("echo", text="1")

    assert here.decided()[-1]["target"]["effect"] == "destructive"


@requirement("operations/reload")
def test_a_gateway_killed_right_after_a_reload_starts_with_what_its_journal_says(
    echo_server: ServerProcess, tmp_path: Path
):
    config = set_up(tmp_path, echo_server)
    with mortal_gateway(config, tmp_path, environment=VARIABLES) as gateway:
        here = Site(gateway)
        here.caller("alice").call("echo", text="1")
        here.label(echo=READ)
        until(lambda: entries(tmp_path, "configuration"), within=60)
        gateway.process.kill()
        gateway.process.wait()
    assert verified(tmp_path).ok
    with running_gateway(config, tmp_path, environment=VARIABLES) as again:
        assert Site(again).caller("alice").call("echo", text="2").text == "2"
        assert "history.snapshot-unused" not in again.printed()
    assert [entry["target"]["effect"] for entry in entries(tmp_path, "call")] == ["write", "read"]
    assert verified(tmp_path).ok


@requirement("operations/reload")
def test_fifty_reloads_under_the_calls_of_ten_clients_fail_none_of_an_untouched_upstream(here: Site):
    here.configure(
        ("tools: {'*': {effect", "tools: {'*': {sensitivity: public, effect"), (", sensitivity: internal}", "}")
    )
    here.reloaded(1)
    ended, failed, made = threading.Event(), list[str](), list[int]()

    def work(number: int) -> None:
        client = here.caller(f"agent{number}", "local")
        while not ended.is_set():
            answer = client.ask(call("say", stateless))
            made.append(answer.status)
            if answer.status != 200:
                failed.append(f"{answer.status} {answer.body!r}")

    with ThreadPoolExecutor(10) as clients:
        for number in range(10):
            clients.submit(work, number)
        try:
            for turn in range(50):
                here.label(echo=f"{{effect: read, egress: false, roles: {{/a{turn}: content}}}}")
                os.kill(here.gateway.process.pid, signal.SIGHUP)
                here.reloaded(2 + turn)
        finally:
            ended.set()
    assert failed == []
    assert len(made) >= 100
    assert len(entries(here.gateway.folder, "configuration")) == 51
