"""One gateway with a credential of each kind, all real brokers behind it, and servers that keep and repeat all that they receive."""

from __future__ import annotations

import base64
import html
import itertools
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import yaml

from tests.e2e.running import mortal_gateway
from tests.e2e.wire import Answer, Caller, call, entries, stateless
from tests.gateway_process import GatewayProcess, free_port
from tests.interaction.authority.test_aws_sts import KEYS, ROLE
from tests.servers.keycloak import PASSWORD, REALM, SECRETS, Keycloak
from tests.servers.openbao import PATH
from tests.servers.serving import ROOT

if TYPE_CHECKING:
    from collections.abc import Generator

    from tests.interaction.identity.server import OAuthServer
    from tests.servers.careless import Careless
    from tests.servers.holding import Holding
    from tests.servers.keycloak import Person
    from tests.servers.openbao import OpenBao

GRANTS = """
upstreams:
  "*": [{id: looks, agents: ["*"], issuers: ["*"], tools: [look, tell], resources: ["*"]}]
"""
STANDING = "Bearer standing-3f81c0d27b94ae56"
FIVE = ("task", "exchange", "oauth", "bao", "cloud")
"""An upstream of each broker."""
HTTP = ("call", "task", "exchange", "oauth", "bao", "standing")
HANDED = ("env", "file", "fd", "parts", "cloud")
"""Upstreams whose process gets the credential."""
_NAMES = itertools.count()
_FIELDS = {name: f"{{{name}}}" for name in ("access_key_id", "secret_access_key", "session_token")}


@dataclass
class Issuers:
    """The servers behind a gateway. Each relay keeps what the gateway sends to its server."""

    keycloak: Keycloak
    idp: Holding
    bao: OpenBao
    vault: Holding
    sts: Holding
    provider: OAuthServer
    careless: Careless
    notes: Path
    sessions: list[subprocess.Popen[bytes]] = field(default_factory=list["subprocess.Popen[bytes]"])
    """Sessions of PostgreSQL that the end of a lease ends."""
    secrets: dict[str, str] = field(init=False)
    """The secrets of the gateway itself, by the variable."""

    def __post_init__(self) -> None:
        self.secrets = {
            "GATEWAY_SECRET": SECRETS["gw"],
            "INTROSPECT_SECRET": SECRETS["gw-introspect"],
            "BAO_TOKEN": self.bao.gateway_token(),
            "AWS_ACCESS_KEY_ID": KEYS[0],
            "AWS_SECRET_ACCESS_KEY": KEYS[1],
            "STANDING": STANDING,
        }

    def open_session(self, user: str, password: str) -> subprocess.Popen[bytes]:
        self.sessions.append(self.bao.postgres.open_session(user, password))
        return self.sessions[-1]

    def close(self) -> None:
        for session in self.sessions:
            session.kill()
            session.wait()

    @property
    def environment(self) -> dict[str, str]:
        return self.secrets | {"CARELESS_NOTES": str(self.notes)}


@dataclass
class Agent:
    """An agent of one user, all answers that it got, and all values that were lent to it."""

    gateway: GatewayProcess
    token: str
    person: Person
    answers: list[Answer] = field(default_factory=list[Answer])
    values: set[str] = field(default_factory=set[str])

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"}

    def ask(self, upstream: str, sent: Any, task: str | None = None) -> Answer:
        headers = {} if task is None else {"opagate-task": task}
        self.answers.append(Caller(self.gateway, upstream, self.headers).ask(sent, headers=headers))
        return self.answers[-1]

    def call(self, upstream: str, tool: str = "look", task: str | None = None, **arguments: Any) -> Answer:
        return self.ask(upstream, call(tool, stateless, **arguments), task)

    def open(self, seconds: int = 600) -> Task:
        asked = {"goal": "look", "expires_in": seconds}
        opened = self.post("", asked).json()
        return Task(self, opened["id"], opened["token"])

    def implicit(self) -> Task:
        """Return the task of calls that name none."""
        self.call("task")
        tasks = [entry["task"] for entry in entries(self.gateway.folder, "call")]
        return Task(self, [task["id"] for task in tasks if task["kind"] == "implicit"][-1], None)

    def post(self, path: str, body: Any = None) -> httpx2.Response:
        return self.on_tasks("POST", path, body).raise_for_status()

    def on_tasks(self, method: str, path: str, body: Any = None) -> httpx2.Response:
        return httpx2.request(
            method, f"{self.gateway.origin}/tasks{path}", json=body, headers=self.headers, timeout=300
        )


@dataclass
class Task:
    """A declared task, or the implicit task of a caller without a `token`."""

    agent: Agent
    id: str
    token: str | None

    def use(self, upstreams: tuple[str, ...] = FIVE, text: str = "") -> dict[str, Answer]:
        """Make a call to each upstream at the same time, and return the answers."""

        def look(upstream: str) -> Answer:
            return self.agent.call(upstream, "look", self.token, text=text)

        with ThreadPoolExecutor(len(upstreams)) as pool:
            answers = dict(zip(upstreams, pool.map(look, upstreams), strict=True))
        for answer in answers.values():
            assert answer.text.endswith(" seen"), answer.text
        return answers

    def leases(self) -> list[dict[str, Any]]:
        """Return the entries of the journal about leases of this task."""
        return [entry for entry in entries(self.agent.gateway.folder, "lease") if entry["task"] == self.id]

    def causes(self) -> dict[str, str]:
        """Return why the leases of this task end, by upstream."""
        return {entry["upstream"]: entry["cause"] for entry in self.leases() if entry["event"] == "ending"}

    def proofs(self) -> dict[str, str]:
        """Return the proofs of this task's leases, by upstream."""
        return {entry["upstream"]: entry["proof"]["kind"] for entry in self.leases() if entry.get("proof")}


def configured(issuers: Issuers, folder: Path, login: str, **more: Any) -> str:
    """Return the configuration. `login` is the client at which users log in."""
    (folder / "grants.yaml").write_text(GRANTS, "utf-8")
    issuer = Keycloak(issuers.idp.url).issuer
    secret, introspect = ({"client_secret": f"${{{name}_SECRET}}"} for name in ("GATEWAY", "INTROSPECT"))
    brokers = {
        "idp": {
            "kind": "exchange",
            "issuer": issuer,
            "client_id": "gw",
            "client_auth": secret,
            "introspect_as": {"client_id": "gw-introspect", "client_auth": introspect},
        },
        "vault": {
            "kind": "openbao",
            "url": issuers.vault.url,
            "auth": {"token": "${BAO_TOKEN}"},
            "policies": ["tasks"],
        },
        "aws": {"kind": "aws_sts", "region": "eu-central-1", "endpoint": issuers.sts.url},
        "crm": {
            "kind": "user_oauth",
            "issuer": issuers.provider.issuer,
            "client": {"dcr": True},
            "scopes": ["offline_access"],
        },
    }
    document: dict[str, Any] = {
        "identity": [{"kind": "jwt", "issuer": issuer, "audience": "gw"}, {"kind": "development"}],
        "policy": {"grants": "grants.yaml", "engine": {"kind": "embedded", "deadline": "20s"}},
        "connections": {"login": {"issuer": issuer, "client_id": login, "client_secret": "${GATEWAY_SECRET}"}},
        "brokers": brokers,
        "upstreams": dict(_upstreams(issuers)),
        "history": {"idle": "4s"},
        "authority": {"journal_outage": "1s", "ttl": {"default": "120s", "by_sensitivity": {}}},
        **more,
    }
    # Without aliases, which the gateway does not read.
    return yaml.safe_dump(json.loads(json.dumps(document)))


def _upstreams(issuers: Issuers) -> Generator[tuple[str, dict[str, Any]]]:
    bao = {"kind": "openbao", "broker": "vault", "path": PATH, "scopes": {"read": ["ro"]}}
    sts = {"kind": "aws_sts", "broker": "aws", "role": ROLE, "scopes": {"read": ["s3:GetObject"]}}
    resource = "https://careless.example/opaque"
    over_http = {
        "call": {"kind": "gateway", "bind": "call", "scopes": {"read": ["look"]}},
        "task": {"kind": "gateway", "bind": "task", "scopes": {"read": ["look"]}},
        "exchange": {"kind": "exchange", "broker": "idp", "audience": "tickets", "scopes": {"read": ["tickets.read"]}},
        "oauth": {"kind": "user_oauth", "broker": "crm", "resource": resource, "scopes": {"read": ["mcp:call"]}},
        "bao": bao,
        "standing": {"kind": "header", "value": "${STANDING}"},
    }
    handed = {
        "env": bao | {"hand_over": {"env": "SECRET"}},
        "file": bao | {"hand_over": {"file": "PGPASSFILE", "variables": {"PGUSER": "{username}"}}},
        "fd": bao | {"hand_over": {"fd": 3}},
        "parts": sts | {"hand_over": {"variables": {name.upper(): text for name, text in _FIELDS.items()}}},
        "cloud": sts | {"hand_over": {"aws_container": True}},
    }
    labels = {"*": {"effect": "read", "egress": False, "sensitivity": "internal"}, "hide": {"effect": "write"}}
    for name, credential in {**over_http, **handed}.items():
        found = {"audience": f"https://{name}.example", "environment": "test", "credential": credential}
        if name in handed:
            command = [sys.executable, "-m", "tests.servers.careless", *(["3"] if name == "fd" else [])]
            found |= {"command": command, "cwd": str(ROOT), "env": {"CARELESS_NOTES": "${CARELESS_NOTES}"}}
            found |= {"files": {"write": ["${CARELESS_NOTES}"]}, "network": True}
        else:
            found |= {"url": issuers.careless.url(name)}
        yield name, found | {"tools": labels}


@contextmanager
def running(issuers: Issuers, folder: Path, person: Person, **more: Any) -> Generator[Agent]:
    """Run a gateway that the test may end, and connect the user of its agent."""
    port, keycloak = free_port(), Keycloak(issuers.idp.url)
    login = make_login(issuers.keycloak, f"http://127.0.0.1:{port}/oauth/login")
    config = configured(issuers, folder, login, **more)
    with mortal_gateway(config, folder, port=port, environment=issuers.environment) as gateway:
        agent = Agent(gateway, keycloak.token(person), person)
        connect(agent.call("oauth"), person)
        yield agent


def make_login(keycloak: Keycloak, redirect: str) -> str:
    """Make a client at which users log in with a browser."""
    name = f"login-{os.getpid()}-{next(_NAMES)}"
    client = {"clientId": name, "secret": SECRETS["gw"], "redirectUris": [redirect], "standardFlowEnabled": True}
    note = {"user.session.note": "AUTH_TIME", "claim.name": "auth_time", "jsonType.label": "long"}
    mapper = {"protocolMapper": "oidc-usersessionmodel-note-mapper", "config": note | {"id.token.claim": "true"}}
    mappers = [{"name": "auth_time", "protocol": "openid-connect", **mapper}]
    more = {"defaultClientScopes": ["basic"], "protocolMappers": mappers}
    keycloak.admin("POST", f"{REALM}/clients", {**client, **more})
    return name


def make_short(keycloak: Keycloak, seconds: int) -> str:
    """Make a client whose tokens live for so many seconds."""
    name = f"short-{os.getpid()}-{next(_NAMES)}"
    SECRETS[name] = SECRETS["agent"]
    mapper = {"included.client.audience": "gw", "access.token.claim": "true", "introspection.token.claim": "true"}
    found = {"name": "audience", "protocol": "openid-connect", "protocolMapper": "oidc-audience-mapper"}
    client = {"clientId": name, "secret": SECRETS["agent"], "directAccessGrantsEnabled": True}
    more = {"attributes": {"access.token.lifespan": str(seconds)}, "protocolMappers": [found | {"config": mapper}]}
    keycloak.admin("POST", f"{REALM}/clients", {**client, **more, "defaultClientScopes": ["basic"]})
    return name


def connect(refused: Answer, person: Person) -> None:
    """Go from the link of a refusal to a connection: the login at Keycloak, the consent, and the server."""
    assert refused.codes == ["credential/connect"], refused.text
    (link,) = set(re.findall(r"https?://[\w.:]+/connect/[\w-]+", refused.text))
    with httpx2.Client(trust_env=False, follow_redirects=True, timeout=300) as browser:
        page = browser.get(link)
        (action,) = re.findall(r'<form[^>]+action="([^"]+)"', page.text)
        # Browsers send secure cookies to a loopback address, and the client here does not.
        cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in browser.cookies.jar)
        form = {"username": person.name, "password": PASSWORD}
        entered = browser.post(html.unescape(action), data=form, headers={"cookie": cookies}, follow_redirects=False)
        page = browser.get(entered.headers["location"])
        (csrf,) = re.findall(r'name="csrf" value="([^"]+)"', page.text)
        origin = f"{page.url.scheme}://{page.url.netloc.decode()}"
        onward = browser.post(page.url, data={"csrf": csrf, "answer": "allow"}, headers={"origin": origin})
        (target,) = re.findall(r'<a href="([^"]+)"', onward.text)
        told = browser.get(html.unescape(target))
    assert "Connected" in told.text, told.text


def basic_of(value: str) -> tuple[str, str]:
    """Return the user name and the password of HTTP Basic."""
    user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    return user, password


def notes_of(issuers: Issuers, text: str) -> str:
    """Return all that the process of an answer was given, and its input."""
    return (issuers.notes / text.partition(" ")[0]).read_text("utf-8")
