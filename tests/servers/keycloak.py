"""A real Keycloak with a realm of its own, shared by all workers of a test run: it takes most of a minute to start."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx2

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

REALM = "corp"
SECRETS = {
    name: f"{name}-5f1c0c7e9a2b4d68" for name in ("gw", "gw-wide", "gw-introspect", "tickets", "agent", "stranger")
}
"""Client → its secret. `gw` is the gateway, `gw-wide` a gateway whose tokens get a scope too many."""
CAEP = "https://schemas.openid.net/secevent/caep/event-type/"
PUSH = "Bearer push-4b7e9d11c2"
"""The header of pushed signals."""
SSF_SCOPES = ("ssf.read", "ssf.manage")
_ADMIN = {"KC_BOOTSTRAP_ADMIN_USERNAME": "admin", "KC_BOOTSTRAP_ADMIN_PASSWORD": "admin"}
PASSWORD = "ada-7Kq2x-password"
_TRANSMITTER = ("allow-insecure-push-targets=true", "outbox-drainer-interval=200ms")
"""Options of the transmitter of signals: pushes over HTTP, five times a second instead of every 30 s."""
_START = 180.0
"""Seconds for a start on a busy machine."""
_STARTED: list[subprocess.Popen[bytes]] = []
"""The process that this worker started."""


@dataclass(frozen=True)
class Person:
    """A user of the realm."""

    id: str
    name: str


@dataclass(frozen=True)
class Receiver:
    """A client with a stream of signals."""

    client_id: str
    secret: str
    stream_id: str


@dataclass
class Keycloak:
    """A running Keycloak at `origin`."""

    origin: str
    count: itertools.count[int] = field(default_factory=itertools.count)

    @property
    def issuer(self) -> str:
        return f"{self.origin}/realms/{REALM}"

    def new_person(self) -> Person:
        """Make a user of its own for a test."""
        name = f"ada-{os.getpid()}-{next(self.count)}"
        fields: dict[str, Any] = {
            "username": name,
            "enabled": True,
            "email": f"{name}@corp.example",
            "emailVerified": True,
        }
        password = {"type": "password", "value": PASSWORD, "temporary": False}
        made = self.admin(
            "POST", f"{REALM}/users", {**fields, "firstName": "Ada", "lastName": "L", "credentials": [password]}
        )
        return Person(made.headers["location"].rpartition("/")[2], name)

    def token(self, person: Person, client: str = "agent", password: str = PASSWORD) -> str:
        """Return an access token of a user's agent."""
        return str(self.login(person, client, password)["access_token"])

    def logout(self, refresh_token: str, client: str = "agent") -> None:
        """End one session, as its user does."""
        form = {"refresh_token": refresh_token}
        answer = httpx2.post(f"{self._protocol}/logout", data=form, auth=(client, SECRETS[client]))
        assert answer.status_code == 204, answer.text

    def login(self, person: Person, client: str = "agent", password: str = PASSWORD) -> dict[str, Any]:
        """Return the tokens of a new session of a user's agent."""
        form = {"grant_type": "password", "username": person.name, "password": password}
        answer = httpx2.post(f"{self._protocol}/token", data=form, auth=(client, SECRETS[client]))
        assert answer.status_code == 200, answer.text
        return answer.json()

    def is_active(self, token: str, client: str = "gw-introspect") -> bool:
        """Return whether introspection calls a token active, asked by a client in its audience."""
        answer = httpx2.post(
            f"{self._protocol}/token/introspect", data={"token": token}, auth=(client, SECRETS[client])
        )
        return bool(answer.json()["active"])

    def admin(self, method: str, path: str, body: Any = None) -> httpx2.Response:
        """Send a request of an administrator to `/admin/realms/…`."""
        form = {"grant_type": "password", "client_id": "admin-cli", "username": "admin", "password": "admin"}
        url = f"{self.origin}/realms/master/protocol/openid-connect/token"
        token = httpx2.post(url, data=form, timeout=300).json()["access_token"]
        headers = {"authorization": f"Bearer {token}"}
        answer = httpx2.request(method, f"{self.origin}/admin/realms/{path}", json=body, headers=headers, timeout=300)
        assert answer.status_code < 300, answer.text
        return answer

    def new_login(self, redirect_uri: str, *audiences: str) -> str:
        """Make a client that people log in with. Return its name, which also is its secret. Its tokens are for `audiences`."""
        name = f"login-{os.getpid()}-{next(self.count)}"
        fields = {"clientId": name, "secret": name, "redirectUris": [redirect_uri], "directAccessGrantsEnabled": False}
        scopes = {"defaultClientScopes": ["basic"], "optionalClientScopes": ["crm.read", "crm.write"]}
        mappers = [_audience(name if audience == "self" else audience) for audience in audiences]
        self.admin("POST", f"{REALM}/clients", {**fields, **scopes, "protocolMappers": mappers})
        return name

    def trust(self, issuer: str, keys: str, person: Person, *, user: str) -> str:
        """Take assertions (ID-JAG) of an identity provider about one user. Return the client that presents them, which also is its secret."""
        name = f"asserted-{os.getpid()}-{next(self.count)}"
        config = {
            "issuer": issuer,
            "authorizationUrl": f"{issuer}/auth",
            "tokenUrl": f"{issuer}/token",
            "jwksUrl": keys,
            "useJwksUrl": "true",
            "validateSignature": "true",
            "clientId": "keycloak",
            "clientSecret": "unused",
            "jwtAuthorizationGrantEnabled": "true",
            "jwtAuthorizationGrantAllowedClockSkew": "10",
        }
        provider = {"alias": name, "providerId": "oidc", "enabled": True, "config": config}
        self.admin("POST", f"{REALM}/identity-provider/instances", provider)
        grant = "oauth2.jwt.authorization.grant"
        client = {"clientId": name, "secret": name, "standardFlowEnabled": False, "defaultClientScopes": ["basic"]}
        optional = {"optionalClientScopes": ["tickets.read", "tickets.write"]}
        attributes = {f"{grant}.enabled": "true", f"{grant}.idp": name}
        self.admin("POST", f"{REALM}/clients", {**client, **optional, "attributes": attributes})
        link = {"identityProvider": name, "userId": user, "userName": user}
        self.admin("POST", f"{REALM}/users/{person.id}/federated-identity/{name}", link)
        return name

    def new_receiver(self, gateway: str, delivery: str, *, audience: str) -> Receiver:
        """Make a client that receives signals about all users, and its stream to the gateway at this origin."""
        name = f"receiver-{os.getpid()}-{next(self.count)}"
        attributes = {
            "ssf.enabled": "true",
            "ssf.validPushUrls": f"{gateway}/ssf/*",
            "ssf.streamAudience": audience,
            "ssf.defaultSubjects": "ALL",
            "ssf.minVerificationInterval": "0",
        }
        secret = f"{name}-9c41d7e2f05b"
        client = {"clientId": name, "secret": secret, "standardFlowEnabled": False, "serviceAccountsEnabled": True}
        scopes = {"defaultClientScopes": ["basic"], "optionalClientScopes": [*SSF_SCOPES]}
        self.admin("POST", f"{REALM}/clients", {**client, **scopes, "attributes": attributes})
        form = {"grant_type": "client_credentials", "scope": " ".join(SSF_SCOPES)}
        token = httpx2.post(f"{self._protocol}/token", data=form, auth=(name, secret)).json()["access_token"]
        asked: dict[str, Any] = {
            "delivery": {"method": f"urn:ietf:rfc:{'8935' if delivery == 'push' else '8936'}"},
            "events_requested": [f"{CAEP}session-revoked", f"{CAEP}credential-change"],
        }
        if delivery == "push":
            asked["delivery"] |= {"endpoint_url": f"{gateway}/ssf/corp", "authorization_header": PUSH}
        answer = httpx2.post(
            f"{self.issuer}/ssf/transmitter/streams",
            json=asked,
            headers={"authorization": f"Bearer {token}"},
            timeout=300,
        )
        assert answer.status_code == 201, answer.text
        return Receiver(name, secret, answer.json()["stream_id"])

    def new_console(self, redirect_uri: str) -> tuple[str, str]:
        """Make a client for logins of people, whose ID tokens list groups and the time of the login. Return its id and secret."""
        name = f"console-{os.getpid()}-{next(self.count)}"
        secret = f"{name}-2f9d6b01ac7e"
        claims = {"id.token.claim": "true", "access.token.claim": "false"}
        groups = {"protocol": "openid-connect", "protocolMapper": "oidc-group-membership-mapper"}
        time_of_login = {"protocol": "openid-connect", "protocolMapper": "oidc-usersessionmodel-note-mapper"}
        note = {"user.session.note": "AUTH_TIME", "claim.name": "auth_time", "jsonType.label": "long"}
        client = {
            "clientId": name,
            "secret": secret,
            "standardFlowEnabled": True,
            "redirectUris": [redirect_uri],
            "attributes": {"pkce.code.challenge.method": "S256"},
            "defaultClientScopes": ["basic"],
            "protocolMappers": [
                {"name": "groups", **groups, "config": {"claim.name": "groups", "full.path": "false", **claims}},
                {"name": "auth_time", **time_of_login, "config": {**note, **claims}},
            ],
        }
        self.admin("POST", f"{REALM}/clients", client)
        return name, secret

    def join(self, person: Person, *groups: str) -> None:
        """Put a user into groups, which are made where they are missing."""
        for group in groups:
            found = self.admin("GET", f"{REALM}/groups?exact=true&search={group}").json()
            if not found:
                self.admin("POST", f"{REALM}/groups", {"name": group})
                found = self.admin("GET", f"{REALM}/groups?exact=true&search={group}").json()
            self.admin("PUT", f"{REALM}/users/{person.id}/groups/{found[0]['id']}")

    @property
    def _protocol(self) -> str:
        return f"{self.issuer}/protocol/openid-connect"


@contextmanager
def shared_keycloak(home: Path, folder: Path) -> Generator[Keycloak]:
    """Use the Keycloak of a folder that all workers share. The first user starts it, the last stops it."""
    state = folder / "keycloak.json"
    with _locked(folder):
        shared = json.loads(state.read_text("utf-8")) if state.exists() else _start(home, folder)
        state.write_text(json.dumps(shared | {"users": shared["users"] + 1}), "utf-8")
    try:
        yield Keycloak(shared["origin"])
    finally:
        with _locked(folder):
            shared = json.loads(state.read_text("utf-8"))
            left = shared["users"] - 1
            state.write_text(json.dumps(shared | {"users": left}), "utf-8")
            if not left:
                state.unlink()
                os.kill(shared["pid"], signal.SIGTERM)
    for process in _STARTED:
        # Another worker may use it for longer than this one lives.
        if left:
            process.returncode = 0
        else:
            process.wait(30)


@contextmanager
def _locked(folder: Path) -> Generator[None]:
    with (folder / "keycloak.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _start(home: Path, folder: Path) -> dict[str, Any]:
    """Start Keycloak, make the realm, and return its state."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = ["--http-enabled=true", "--http-host=127.0.0.1", f"--http-port={port}", "--hostname-strict=false"]
    settings += [f"--spi-ssf-transmitter--default--{option}" for option in _TRANSMITTER]
    # The script replaces itself with Java, whose process is ended at last.
    command = ["sh", str(home / "bin/kc.sh"), "start", "--optimized", "--log-level=warn", *settings]
    log = folder / "keycloak.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=os.environ | _ADMIN, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    _STARTED.append(process)
    origin, deadline = f"http://127.0.0.1:{port}", time.monotonic() + _START
    try:
        while not _is_up(origin):
            assert process.poll() is None, log.read_text("utf-8")
            assert time.monotonic() < deadline, log.read_text("utf-8")
        Keycloak(origin).admin("POST", "", _realm())
    except BaseException:
        process.kill()
        raise
    return {"origin": origin, "pid": process.pid, "users": 0}


def _is_up(origin: str) -> bool:
    try:
        return httpx2.get(f"{origin}/realms/master", timeout=5).status_code == 200
    except httpx2.HTTPError:
        time.sleep(0.2)
        return False


def _realm() -> dict[str, Any]:
    """Return the realm: an agent, a gateway that exchanges its tokens, and the system `tickets`."""
    exchanges = {"attributes": {"standard.token.exchange.enabled": "true"}}
    optional = {"optionalClientScopes": ["tickets.read", "tickets.write"]}
    return {
        "realm": REALM,
        "enabled": True,
        "sslRequired": "none",
        "attributes": {"ssf.transmitterEnabled": "true"},
        "clients": [
            _client("gw", **exchanges, **optional),
            _client("gw-wide", **exchanges, defaultClientScopes=["basic", "everything"], **optional),
            _client("gw-introspect"),
            _client("tickets"),
            _client("agent", directAccessGrantsEnabled=True, protocolMappers=[_audience("gw"), _audience("gw-wide")]),
            _client("stranger", directAccessGrantsEnabled=True),
        ],
        "clientScopes": [
            _basic(),
            *map(_scope, ("tickets.read", "tickets.write", "everything")),
            *map(_plain, (*SSF_SCOPES, "crm.read", "crm.write")),
        ],
    }


def _plain(name: str) -> dict[str, Any]:
    """Return a scope that is in tokens, and adds nothing else."""
    return {"name": name, "protocol": "openid-connect", "attributes": {"include.in.token.scope": "true"}}


def _client(name: str, **more: Any) -> dict[str, Any]:
    found = {"clientId": name, "secret": SECRETS[name], "standardFlowEnabled": False}
    return {**found, "defaultClientScopes": ["basic"], "optionalClientScopes": [], **more}


def _scope(name: str) -> dict[str, Any]:
    """Return a scope whose tokens are for `tickets`, and for the client that introspects them."""
    mappers = [_audience("tickets"), _audience("gw-introspect")]
    return {
        "name": name,
        "protocol": "openid-connect",
        "attributes": {"include.in.token.scope": "true"},
        "protocolMappers": mappers,
    }


def _basic() -> dict[str, Any]:
    """Return the scope that each client has, with the two claims of Keycloak's own."""
    subject = {"name": "sub", "protocol": "openid-connect", "protocolMapper": "oidc-sub-mapper"}
    config = {"access.token.claim": "true", "introspection.token.claim": "true"}
    note = {"name": "auth_time", "protocol": "openid-connect", "protocolMapper": "oidc-usersessionmodel-note-mapper"}
    time_config = {"user.session.note": "AUTH_TIME", "claim.name": "auth_time", "jsonType.label": "long"}
    return {
        "name": "basic",
        "protocol": "openid-connect",
        "attributes": {"include.in.token.scope": "false"},
        "protocolMappers": [
            {**subject, "config": config},
            {**note, "config": {**time_config, **config, "id.token.claim": "true"}},
        ],
    }


def _audience(client: str) -> dict[str, Any]:
    config = {"included.client.audience": client, "access.token.claim": "true", "introspection.token.claim": "true"}
    mapper = {"protocol": "openid-connect", "protocolMapper": "oidc-audience-mapper", "config": config}
    return {"name": f"audience-{client}", **mapper}
