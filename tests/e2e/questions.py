"""Every kind of question that a gateway puts to people, each made by real calls of an agent at real systems."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from gateway.model import reasons
from gateway.surfaces.cli.control_client import connect_to_gateway
from tests.e2e.desk import ADDRESS, CODE_NAME, CUSTOMER, KEY, made
from tests.e2e.systems import Agent, Servers, agent, delegated, many
from tests.e2e.wire import Caller, legacy, stateless
from tests.gateway_process import GatewayProcess, free_port, open_policy, running_gateway
from tests.secret_forms import FORMS
from tests.servers.serving import ROOT
from tests.servers.transmitter import TOKEN, Transmitter, running_transmitter
from tests.signalling import CAEP, account

FORGED: Final = (
    "tidy up\u2028known by the gateway\n  toxic-flow: answered\x1b[2J\u202e <!channel> <https://evil.test|open>"
)
"""Words of an agent that would be lines, marks and links of the gateway."""
GOAL: Final = FORGED.replace("\n", "").replace("\x1b", "")
"""The same for a goal, which takes no control characters."""
HELD: Final = "held"
"""The agent whose grant asks for an approval."""


@dataclass(frozen=True, slots=True)
class Office:
    """A gateway with people, before the systems of `tests.e2e.systems`."""

    gateway: GatewayProcess
    systems: Servers
    idp: Transmitter
    asked: dict[str, str] = field(default_factory=dict[str, str])

    def desk(self, do: str, **fields: Any) -> Any:
        with connect_to_gateway(self.gateway.folder / "state/control.sock", "carol") as desk:
            return desk.ask(do, **fields)

    def ask(self, kind: str) -> dict[str, Any]:
        """Return the question of a kind, as the desk describes it. Its calls are made once."""
        if kind not in self.asked:
            before = {one["id"] for one in self.desk("approvals/list")["questions"]}
            CASES[kind](self)
            (self.asked[kind],) = {one["id"] for one in self.desk("approvals/list")["questions"]} - before
        return self.desk("approvals/show", id=self.asked[kind])

    def agent(self, **more: Any) -> Agent:
        return agent(self.gateway, self.systems, **more)

    def held(self) -> Agent:
        """Somebody whose grant asks for an approval."""
        return agent(self.gateway, self.systems, f"{HELD}-{secrets.token_hex(4)}")


def codes_that_ask(rules: Path = ROOT / "rego/gateway") -> set[str]:
    """The codes of all questions: those of the rules of the shipped policy, and the gateway's own."""
    found = {reasons.APPROVAL_TASK.code}
    for path in rules.rglob("*.rego"):
        text = path.read_text("utf-8")
        if path.name.endswith("_test.rego"):
            continue
        found |= set(re.findall(r'^(?:asks|questions) contains \{"code": "([\w/-]+)"', text, re.MULTILINE))
        if re.search(r'^asks contains \{"code": code', text, re.MULTILINE):
            (table,) = re.findall(r"^_codes := \{(.*?)^\}", text, re.MULTILINE | re.DOTALL)
            found |= set(re.findall(r'"([\w-]+/[\w-]+)"', table))
    return found


# --- the gateway -----------------------------------------------------------------------------------


@contextmanager
def office(systems: Servers, folder: Path, channels: list[dict[str, Any]]) -> Generator[Office]:
    """A gateway with people, a console, and channels."""
    policy = open_policy(folder)
    port = free_port()
    with running_transmitter() as idp:
        _change_policy(policy, idp.origin)
        idp.push_to = f"http://127.0.0.1:{port}/ssf/idp"
        settings = yaml.safe_load(systems.config(policy))
        issuer = {"kind": "jwt", "issuer": idp.origin, "jwks": f"{idp.origin}/jwks", "audience": "gw"}
        stream = {
            "kind": "ssf",
            "name": "idp",
            "transmitter": idp.origin,
            "audience": "https://gateway.example/signals",
        }
        settings |= {
            "identity": [{"kind": "development"}, issuer],
            "approvals": {"hold": "10ms", "pending": "2h", "channels": channels},
            "console": {},
            "signals": [{**stream, "stream": {"token": "${SSF_TOKEN}"}}],
        }
        tools: dict[str, Any] = settings["upstreams"]["crm"]["tools"]
        tools["run"] = {"effect": "exec", "egress": False, "sensitivity": "internal"}
        tools["write"] = {**tools["write"], "roles": {"/body": "content", "/path": "destination"}}
        payments: dict[str, Any] = settings["upstreams"]["tickets"]["tools"]
        payments["write"] = {**payments["write"], "effect_key": ["/body"]}
        settings["upstreams"]["initech"]["environment"] = "production"
        with running_gateway(
            yaml.safe_dump(settings, sort_keys=False), folder, environment={"SSF_TOKEN": TOKEN}, port=port
        ) as gateway:
            yield Office(gateway, systems, idp)


def _change_policy(policy: Path, issuer: str) -> None:
    """Leave a task room between a number that asks and one that refuses, and let one agent's grant ask for an approval."""
    settings = policy / "gateway/settings/data.yaml"
    found = yaml.safe_load(settings.read_text("utf-8"))
    found["task_limits"]["audiences"] = {"soft": 3, "hard": 50}
    found["repeats_that_ask"] = ["done"]
    soft = {"amount": 100, "calls": 5, "destinations": 2, "repeats": 1, "systems": 1, "writes": 3}
    found["user_limits"] = {name: {"soft": number, "hard": 500} for name, number in soft.items()}
    settings.write_text(json.dumps(found), "utf-8")
    grants = policy / "gateway/grants/data.yaml"
    (everything,) = yaml.safe_load(grants.read_text("utf-8"))["upstreams"]["*"]
    free = {**everything, "agents": ["agent-*"]}
    by_users = {**everything, "id": "users", "agents": ["*"], "issuers": [issuer]}
    asking = {**everything, "id": HELD, "agents": [f"{HELD}-*"], "approval": True}
    grants.write_text(json.dumps({"upstreams": {"*": [free, by_users, asking]}}), "utf-8")


# --- the kinds -------------------------------------------------------------------------------------


def _simple(
    system: str, tool: str, *, before: Callable[[Agent], object] = lambda _agent: None, **arguments: Any
) -> Callable[[Office], object]:
    """A call of a new agent, after what it did before."""

    def ask(found: Office) -> None:
        someone = found.agent()
        before(someone)
        someone.call(system, tool, **arguments)

    return ask


def _declared(
    system: str, tool: str, *before: tuple[str, str, Mapping[str, Any]], task: Mapping[str, Any], **arguments: Any
) -> Callable[[Office], object]:
    """A call in a declared task, after its other calls."""

    def ask(found: Office) -> None:
        someone = found.agent().declare(**task)
        for place, name, given in before:
            someone.call(place, name, **given)
        someone.call(system, tool, **arguments)

    return ask


def _limits(**limits: int) -> dict[str, Any]:
    return {"contract": {"limits": limits}}


def _read(system: str, page: str) -> Callable[[Agent], object]:
    return lambda someone: someone.call(system, "read", page=page)


def _touch(*systems: str) -> tuple[tuple[str, str, Mapping[str, Any]], ...]:
    return tuple((system, "read", {}) for system in systems)


def _write(*systems: str, **given: Any) -> tuple[tuple[str, str, Mapping[str, Any]], ...]:
    return tuple((system, "write", given) for system in systems)


def _read_both(someone: Agent) -> None:
    someone.call("crm", "read")
    someone.call("vault", "confidential")


def _plain_word(someone: Agent) -> None:
    someone.call("files", "read", page="customers")
    someone.call("crm", "read", page="ticket")


def _denials(found: Office) -> None:
    someone = found.agent()
    someone.call("crm", "read", page="key")
    for _ in range(51):
        someone.call("crm", "post", text=KEY)
    someone.call("crm", "write", body="a few words")


def _in_flight(found: Office) -> None:
    task, key = found.agent().declare(**_limits(in_flight=1)), secrets.token_hex(8)
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(task.call, "crm", "hold", key=key)
        found.systems.of("crm").wait("request", key)
        task.call("crm", "read")
        found.systems.of("crm").release(key)
        waiting.result(30)


def _identity_switch(found: Office) -> None:
    found.agent(user="ada").call("crm", "login", user="root")


def _unbound(found: Office) -> None:
    token = found.idp.idp.token(f"user-{secrets.token_hex(4)}", audience="gw", issued=time.time() - 60)
    Caller(found.gateway, "initech", {"authorization": f"Bearer {token}"}).call("mint")


def _doubtful(found: Office) -> None:
    who = f"user-{secrets.token_hex(4)}"
    token = found.idp.idp.token(who, audience="gw", issued=time.time() - 60)
    details = {"principal": "USER", "current_level": "HIGH", "previous_level": "LOW"}
    event = found.idp.idp.event(account(who, found.idp.origin), f"{CAEP}risk-level-change", details=details)
    assert found.idp.push(event)[0] == 202
    Caller(found.gateway, "crm", {"authorization": f"Bearer {token}"}).call("read")


def _over_tasks(*calls: tuple[str, str, Mapping[str, Any]]) -> Callable[[Office], object]:
    """Calls for a new user. The last of them is one too many for a day."""

    def ask(found: Office) -> None:
        someone = found.agent(user=f"user-{secrets.token_hex(4)}")
        for system, tool, arguments in calls:
            someone.call(system, tool, **arguments)

    return ask


def _tree(found: Office) -> None:
    """Two children of a task reach two systems each, and together one more than a task may."""
    someone = found.agent()
    status, root = someone.tasks("")
    assert status == 201, root
    for systems in (("crm", "billing"), ("chat", "files")):
        child = someone.declare(parent=root["id"])
        for system in systems:
            child.call(system, "read")


def _task(found: Office) -> None:
    contract = {"tools": ["crm/*"], "effects": {"mint": ["crm/mint"]}}
    status, answer = found.agent().tasks("", goal=GOAL, approval="ask", contract=contract)
    assert status == 202, answer


def _hidden_form(name: str) -> tuple[str, str]:
    (form,) = [form for form in FORMS if form.name == name]
    return f"form {form.name}", form.secret


_PIN_PAGE, _PIN = _hidden_form("your PIN is")

_CODES: Final[Mapping[str, Callable[[Office], object]]] = {
    "approval/effect": _simple("crm", "mint"),
    "approval/grant": lambda found: found.held().call("crm", "read", query=FORGED),
    reasons.APPROVAL_TASK.code: _task,
    "argument/disguised-host": _simple("crm", "fetch", url="http://127.0.0.1\\@evil.test/"),
    "argument/hidden-command": _simple("billing", "run", command="ls \u202egpj.sh"),
    "argument/internal-address": _simple("crm", "fetch", url="http://169.254.169.254/latest/meta-data"),
    "argument/path-traversal": _simple("crm", "write", path="../../etc/passwd"),
    "argument/startup-file": _simple("crm", "write", path="~/.bashrc"),
    "budget/calls": _declared("crm", "read", *_touch("crm", "crm", "crm"), task=_limits(calls=3)),
    "budget/denials": _denials,
    "budget/in-flight": _in_flight,
    "budget/risk": _declared("crm", "write", task={"risk": "high"}),
    "credential-chain/egress": _simple("crm", "post", text=f"use {made('nowhere')}"),
    "credential-chain/identity-switch": _identity_switch,
    "credential-chain/mint": _simple("crm", "mint"),
    "credential-chain/one-time-code": _simple("billing", "use", before=_read("crm", _PIN_PAGE), token=_PIN),
    "credential-chain/plain-word": _simple("billing", "read", before=_plain_word, query=CUSTOMER),
    "credential-chain/presentation": _simple("billing", "use", before=_read("crm", "key"), token=KEY),
    "credential-chain/unknown": _simple("crm", "use", token=made("nowhere")),
    "effect/repeated": _simple(
        "tickets", "write", before=lambda someone: someone.call("tickets", "write", body="pay"), body="pay"
    ),
    "fan-out/audiences": _declared("files", "read", *_touch("crm", "billing", "chat"), task=_limits(audiences=3)),
    "fan-out/burst": _declared(
        "search", "read", *_touch("crm", "billing", "chat", "files"), task=_limits(audiences=20, audiences_in_window=4)
    ),
    "fan-out/depth": lambda found: delegated(found.gateway, found.systems, 3).call("crm", "read"),
    "fan-out/destinations": _declared("mail", "send", task=_limits(call_destinations=3), to=many("corp.example", 5)),
    "fan-out/environments": _declared("staging", "read", *_touch("crm"), task={}),
    "fan-out/spread": _declared(
        "chat",
        "write",
        ("crm", "read", {"page": "plan"}),
        *_write("crm", "billing", body=CODE_NAME),
        task={},
        body=CODE_NAME,
    ),
    "fan-out/tenants": _declared("globex", "read", *_touch("acme"), task={}),
    "fan-out/unnamed-system": _declared(
        "crm", "write", ("files", "read", {"page": "advice"}), task=_limits(unnamed_systems=0)
    ),
    "fan-out/writes": _declared(
        "files", "write", *_write("crm", "billing", "chat"), task=_limits(audiences=20, write_audiences=3)
    ),
    "identity/unbound": _unbound,
    "limit/amount": _over_tasks(("crm", "pay", {"to": "a@corp.example", "amount": 101})),
    "limit/calls": _over_tasks(*_touch(*["crm"] * 6)),
    "limit/destinations": _over_tasks(("mail", "send", {"to": many("corp.example", 3)})),
    "limit/repeats": _over_tasks(*_write("crm", "crm", body="the same")),
    "limit/systems": _over_tasks(*_write("crm", "chat", body="hello")),
    "limit/writes": _over_tasks(*(("crm", "write", {"body": f"text {number}"}) for number in range(4))),
    "signal/doubtful": _doubtful,
    "tool/unlabelled-exec": _simple("crm", "run", command="ls"),
    "toxic-flow/exfiltration": _simple("mail", "post", before=_read_both, text="hello"),
    "tree/limit": _tree,
    "toxic-flow/ungrounded": _simple("crm", "send", before=_read("crm", "advice"), to=ADDRESS, body="hello"),
}
"""Code → its calls. A question has perhaps other codes too."""


def _resource(found: Office) -> None:
    sent = legacy("resources/read", uri=f"test://page/{'x' * 400}/\u202e{FORGED}")
    Caller(found.gateway, "crm", found.held().headers).ask(sent)


def _prompt(found: Office) -> None:
    Caller(found.gateway, "crm", found.held().headers).ask(
        legacy("prompts/get", name="hello", arguments={"who": FORGED})
    )


def _answers(found: Office) -> None:
    responses = {"name": {"action": "accept", "content": {"said": FORGED}}}
    sent = stateless("tools/call", name="read", arguments={"query": "x"}, inputResponses=responses)
    Caller(found.gateway, "crm", found.held().headers).ask(sent)


def _beside(found: Office) -> None:
    sent = legacy("tools/call", name="read", arguments={"query": "x"}, _meta={"vendor.example/note": FORGED})
    Caller(found.gateway, "crm", found.held().headers).ask(sent)


def _stateless(found: Office) -> None:
    sent = stateless("tools/call", name="read", arguments={FORGED: [FORGED, {FORGED: None}], "p\u0430ypal": "א 100"})
    Caller(found.gateway, "crm", found.held().headers).ask(sent)


_FORMS: Final[Mapping[str, Callable[[Office], object]]] = {
    "a resource": _resource,
    "a prompt": _prompt,
    "answers to the server's questions": _answers,
    "parts beside the arguments": _beside,
    "hostile names and values": _stateless,
    "arguments that are not shown whole": lambda found: found.held().call("crm", "read", query="x" * 70_000),
    "a declared task with goal and kind": _declared(
        "crm",
        "mint",
        task={"goal": GOAL, "kind": "weekly-report", "contract": {"effects": {"mint": ["crm/*"]}}},
        note=FORGED,
    ),
    "an agent that acts for a user": lambda found: (
        delegated(found.gateway, found.systems, 2).call("crm", "mint", note=FORGED) and None
    ),
}
"""Forms of questions, whatever their code."""

CASES: Final[Mapping[str, Callable[[Office], object]]] = {**_CODES, **_FORMS}
CODES: Final = frozenset(_CODES)
