"""A credential that a system shows otherwise than in the answer to a call is known all the same: in the result of a task
of the protocol, on streams, in questions and notifications, in completions, in lists. It goes back to its system, and to no
other.

Real gateway, real servers; none of the others has seen the call.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pytest

from tests import forked_gateway
from tests.e2e.desk import KEY
from tests.e2e.desk_streams import LARGE
from tests.e2e.running import leave, mortal_gateway
from tests.e2e.systems import Agent, Servers, agent
from tests.e2e.wire import Answer, Caller, Sent, call, entries, legacy, stateless
from tests.gateway_process import TRACEBACK, GatewayProcess, free_port, open_policy
from tests.requirements import requirement
from tests.servers.echo import Recorder

PRESENTED: Final = ["credential-chain/presentation"]
CHAINED: Final = ["credential-chain/lineage"]
OUTSIDE: Final = ["credential-chain/outside-arguments"]


@dataclass(frozen=True, slots=True)
class Session:
    """A client's session with one system, in a declared task."""

    agent: Agent
    system: str = "crm"

    @property
    def caller(self) -> Caller:
        return Caller(self.agent.gateway, self.system, self.agent.headers)

    def post(self, sent: Sent, **headers: str) -> Answer:
        return self.caller.ask(sent, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def opened(self) -> str:
        """The id of a new session."""
        sent = legacy("initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo={"name": "c"})
        answer = self.post(sent)
        return answer.headers["mcp-session-id"]

    def stream(self, show: str, session: str | None = None, **headers: str) -> Answer:
        """What comes on the session's own stream."""
        fields = {"mcp-session-id": session or self.opened(), "x-show": show}
        return self.caller.ask(None, "GET", {**fields, **{k.replace("_", "-"): v for k, v in headers.items()}})


@pytest.fixture
def ada(one: GatewayProcess, systems: Servers, request: pytest.FixtureRequest) -> Agent:
    """A caller of its own, in a task that it has declared."""
    return agent(one, systems, f"reader-{abs(hash(request.node.nodeid))}").declare()


def late(session: Session, name: str, era: Callable[..., Sent] = legacy, tool: str = "read") -> None:
    """Have a tool called whose result comes as that of a task."""
    answer = session.post(call(tool, era, later=name, page="key"))
    assert name in answer.body.decode()
    assert KEY not in answer.body.decode()


def by_task(method: str, era: Callable[..., Sent]) -> Callable[[Session], Answer]:
    def read(session: Session) -> Answer:
        name = f"task-{id(session)}"
        late(session, name, era)
        return session.post(era(method, taskId=name) if method != "tasks/list" else legacy(method))

    return read


def on_stream(show: str, **headers: str) -> Callable[[Session], Answer]:
    return lambda session: session.stream(show, **headers)


def by_listening(show: str) -> Callable[[Session], Answer]:
    return lambda session: session.post(stateless("subscriptions/listen", notifications={}), x_show=show)


def by_news(session: Session) -> Answer:
    """What came of a task, on a stream on which its caller listens for it."""
    name = f"news-{id(session)}"
    late(session, name, stateless)
    return session.post(
        stateless("subscriptions/listen", notifications={"taskIds": [name]}), x_show=f"ended/{name}:key"
    )


def resumed(session: Session) -> Answer:
    """The answer to a call that was cut off, on the stream that is taken up again."""
    name = session.opened()
    with session.caller.open("POST", call("hold", key=f"never-{name}"), {"mcp-session-id": name}) as answer:
        answer.readline()
    return session.stream("answer/7:key", name, last_event_id="1")


WAYS: Final[Mapping[str, Callable[[Session], Answer]]] = {
    "result of a task": by_task("tasks/result", legacy),
    "status of a task": by_task("tasks/get", legacy),
    "end of a task": by_task("tasks/cancel", legacy),
    "list of tasks": by_task("tasks/list", legacy),
    "result of a stateless task": by_task("tasks/get", stateless),
    "news of a stateless task": by_news,
    "log message": on_stream("log:key"),
    "progress": on_stream("progress:key"),
    "sampling": on_stream("log:none sampling:key"),
    "elicitation": on_stream("elicitation:key"),
    "resource updated": on_stream("updated:key"),
    "a word beside a change": on_stream("changed:key"),
    "status of a task of nobody": on_stream("status:key"),
    "taken up again": resumed,
    "answer of long ago": on_stream("answer/99:key", last_event_id="1"),
    "large message": on_stream("large:key"),
    "subscription": by_listening("log:none updated:key"),
    "large message of a subscription": by_listening("large:key"),
    "completion": lambda session: session.post(
        legacy(
            "completion/complete", ref={"type": "ref/prompt", "name": "p"}, argument={"name": "page", "value": "key"}
        )
    ),
    "description of a resource": lambda session: session.post(legacy("resources/list"), x_page="key"),
}

OF_NOBODY: Final = ("status of a task of nobody", "answer of long ago", "large message of a subscription")
"""Nobody remembers the call that led to it, or can tell whether one did: the worst is assumed of how it came about."""


def stopped(ada: Agent, way: str) -> Answer:
    """A call that shows another system what was shown so: it goes nowhere without a person, or not at all."""
    if way in OF_NOBODY:
        return ada.denied([*PRESENTED, *CHAINED], "billing", "use", token=KEY)
    return ada.held(PRESENTED, "billing", "use", token=KEY)


@requirement("history/read-elsewhere", "history/credentials")
@pytest.mark.parametrize("way", WAYS)
def test_a_credential_of_one_system_goes_to_no_other_however_it_was_shown(ada: Agent, way: str):
    answer = WAYS[way](Session(ada))
    assert KEY in answer.body.decode(), answer.body[:2000]

    stopped(ada, way)
    ada.servers.take()
    beside = Caller(ada.gateway, "billing", ada.headers).ask(legacy("ping", _meta={"note": KEY}))
    assert (beside.status, beside.codes, _arrived(ada)) == (400, OUTSIDE, [])
    ada.passes("crm", "read", query=KEY)


def _arrived(ada: Agent) -> list[Any]:
    return [record for recorder in ada.servers.recorders for record in recorder.take() if KEY in record["body"]]


@requirement("history/read-elsewhere", "explain/causes")
@pytest.mark.parametrize(
    ("way", "told"),
    [
        ("result of a task", "crm tasks/result, the late result of call 1, showed the credential"),
        (
            "news of a stateless task",
            "crm notifications/tasks on subscriptions/listen, the late result of call 1, showed",
        ),
        ("taken up again", "crm a stream, the late result of call 1, showed the credential"),
        ("log message", "crm notifications/message on a stream showed the credential"),
        ("subscription", "crm notifications/resources/updated on subscriptions/listen showed the credential"),
        ("completion", "call 1 crm/p showed the credential"),
    ],
)
def test_explain_tells_where_it_came_from(ada: Agent, way: str, told: str):
    WAYS[way](Session(ada))
    refused = ada.held(PRESENTED, "billing", "use", token=KEY)
    command = ["journal", "explain", refused.decision, "--config", "gateway.yaml"]
    found = forked_gateway.run(command, ada.gateway.folder, os.environ)
    found.check_returncode()

    assert told in " ".join(found.stdout.replace("│", " ").split()), found.stdout


@requirement("history/read-elsewhere", "history/restart")
@pytest.mark.parametrize("way", ["result of a task", "log message", "large message of a subscription", "completion"])
@pytest.mark.parametrize("snapshots", [True, False])
def test_it_holds_after_the_gateway_was_killed(systems: Servers, tmp_path: Path, way: str, *, snapshots: bool):
    config, port = systems.config(open_policy(tmp_path)), free_port()
    with mortal_gateway(config, tmp_path, port=port) as gateway:
        before = agent(gateway, systems, "ada").declare()
        assert KEY in WAYS[way](Session(before)).body.decode()
    leave(tmp_path, config, port, snapshots=snapshots)
    with mortal_gateway(config, tmp_path, port=port) as gateway:
        after = replace(before, gateway=gateway)
        stopped(after, way)
        after.passes("crm", "read", query=KEY)
        assert TRACEBACK not in gateway.printed()


@requirement("history/read-elsewhere", "history/restart")
def test_an_implicit_task_that_has_only_read_is_found_again(systems: Servers, tmp_path: Path):
    config, port = systems.config(open_policy(tmp_path)), free_port()
    with mortal_gateway(config, tmp_path, port=port) as gateway:
        before = agent(gateway, systems, "ada")
        assert KEY in by_listening("log:key")(Session(before)).body.decode()
    leave(tmp_path, config, port, snapshots=False)
    with mortal_gateway(config, tmp_path, port=port) as gateway:
        replace(before, gateway=gateway).held(PRESENTED, "billing", "use", token=KEY)


@requirement("history/read-elsewhere")
def test_a_late_result_is_also_one_of_the_task_in_which_it_was_asked_for(ada: Agent):
    """The client of the second task reads it; the first has made it."""
    other = ada.declare()
    late(Session(ada), "crossing")
    assert KEY in Session(other).post(legacy("tasks/result", taskId="crossing")).body.decode()
    for each in (ada, other):
        each.held(PRESENTED, "billing", "use", token=KEY)


@requirement("history/read-elsewhere", "history/toxic-flow")
def test_what_a_task_reads_so_counts_as_confidential_as_the_tool_that_made_it(ada: Agent):
    session = Session(ada)
    late(session, "secret-plan", tool="confidential")
    other = Session(ada.declare())
    other.post(legacy("tasks/result", taskId="secret-plan"))

    other.agent.held(["toxic-flow/exfiltration"], "chat", "send", to="eve@attacker.test", body="nothing")


@requirement("history/read-elsewhere")
def test_what_opens_a_connection_is_no_reading(ada: Agent):
    """Else each task would have read something untrusted from its beginning."""
    session = Session(ada)
    name = session.opened()
    session.post(legacy("tools/list"))
    session.post(legacy("ping"))
    session.stream("changed:none", name)
    asked = ada.call("crm", "send", to="bob@corp.example", body="x")
    reads = [entry for entry in entries(ada.gateway.folder, "observed") if entry["task"] == ada.task]

    assert [entry["event"] for entry in reads if entry["event"] == "read"] == [], asked.body
    session.stream("log:none", name)
    reads = [entry for entry in entries(ada.gateway.folder, "observed") if entry["task"] == ada.task]
    assert len([entry for entry in reads if entry["event"] == "read"]) == 1


@requirement("history/read-elsewhere")
@pytest.mark.parametrize("show", ["log:key", "large:key"])
def test_an_event_comes_at_once_and_is_known_by_then(ada: Agent, systems: Servers, show: str):
    """The stream goes on: nothing of the event waits for what comes after it."""
    session, held = Session(ada), f"held-{show}-{id(ada)}".replace(":", "-")
    fields = {"mcp-session-id": session.opened(), "x-show": show, "x-hold": held}
    with session.caller.open("GET", headers=fields) as stream:
        size = LARGE if show.startswith("large") else 0
        came = b""
        while KEY.encode() not in came or not came.endswith(b"\n\n"):
            came += stream.readline()
        assert len(came) > size
        ada.held(PRESENTED, "billing", "use", token=KEY)
        Recorder(systems.of("crm").origin)._ask("POST", f"/release/{held}")
        assert stream.read() == b""


@requirement("history/read-elsewhere", "invariant/8")
def test_no_credential_is_in_anything_that_the_gateway_wrote(ada: Agent, one: GatewayProcess):
    for way in ("result of a task", "log message", "taken up again", "completion"):
        WAYS[way](Session(ada))
    written = [path for path in one.folder.rglob("*") if path.is_file() and "policy" not in path.parts]
    assert any(path.suffix == ".jsonl" for path in written)
    assert [path for path in written if KEY.encode() in path.read_bytes()] == []


@requirement("history/read-elsewhere", "replay/export")
def test_a_journal_with_readings_is_exported_and_says_what_is_left_out(ada: Agent, one: GatewayProcess):
    WAYS["log message"](Session(ada))
    ada.held(PRESENTED, "billing", "use", token=KEY)
    command = ["journal", "export", "--format", "trace", "--task", ada.task]
    found = forked_gateway.run([*command, "--config", "gateway.yaml"], one.folder, os.environ)
    found.check_returncode()
    (trace,) = map(json.loads, found.stdout.splitlines())
    assert [step["expect"]["effect"] for step in trace["steps"]] == ["ask"]
    assert "outside of calls" in found.stderr
