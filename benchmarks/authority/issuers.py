"""Ends of leases at real issuers: OpenBao with PostgreSQL, and Keycloak. The gateway runs in this process."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx2
import uvloop
import yaml

from benchmarks.authority.figures import Figure
from benchmarks.authority.lending_gateway import authority_of, lend_for
from benchmarks.gateway import targets
from gateway import config
from gateway.authority.lending import Authority, Purpose
from gateway.authority.model import MESSAGES, Lease, Scope
from gateway.model.caller import AuthMethod, Principal, User
from gateway.surfaces.app import open_gateway
from tests.servers.keycloak import SECRETS, Keycloak, Person, shared_keycloak
from tests.servers.openbao import PATH, ROOT_TOKEN, OpenBao, running_openbao

if TYPE_CHECKING:
    from collections.abc import Iterable

LEASES: Final = 100
UPSTREAM: Final = "u"
_AT_ONCE: Final = 16
_ROLES: Final = "sys/leases/lookup/database/creds/ro"


def measure_openbao(folder: Path, echo: str, *, runs: int) -> list[Figure]:
    """Measure the end of a task with 100 dynamic secrets, and the same at OpenBao without a gateway."""
    with running_openbao(folder / "openbao") as bao:
        own = uvloop.run(_revoke_alone(bao, runs))
        os.environ["BENCH_BAO"] = bao.gateway_token()
        broker = {"kind": "openbao", "url": bao.url, "auth": {"token": "${BENCH_BAO}"}, "policies": ["tasks"]}
        credential = {"kind": "openbao", "broker": "issuer", "path": PATH, "scopes": {"read": ["ro"]}}
        configuration = _configure(folder / "gateway", echo, broker, credential)
        took = uvloop.run(_measure(configuration, runs, _lend_to_one_task))
        if bao.postgres.roles():
            raise SystemExit("PostgreSQL has roles left")
    beyond = tuple(all_of - broker_of for all_of, broker_of in zip(sorted(took), sorted(own), strict=True))
    return [
        Figure(f"end of a task → {LEASES} OpenBao secrets gone and proven", tuple(took), "s"),
        Figure("the same at OpenBao alone, without a gateway", tuple(own), "s"),
        Figure("the gateway's part of it", beyond, "s", 1.0),
    ]


def measure_keycloak(folder: Path, echo: str, *, runs: int) -> Figure:
    """Measure the end of all exchanged tokens of a user."""
    folder.mkdir(parents=True, exist_ok=True)
    os.environ |= {"BENCH_GW": SECRETS["gw"], "BENCH_ASK": SECRETS["gw-introspect"]}
    with shared_keycloak(targets.TOOLS / "keycloak", folder) as keycloak:
        broker = {
            "kind": "exchange",
            "issuer": keycloak.issuer,
            "client_id": "gw",
            "client_auth": {"client_secret": "${BENCH_GW}"},
            "introspect_as": {"client_id": "gw-introspect", "client_auth": {"client_secret": "${BENCH_ASK}"}},
        }
        scopes = {"read": ["tickets.read"]}
        credential = {"kind": "exchange", "broker": "issuer", "audience": "tickets", "scopes": scopes}
        configuration = _configure(folder / "gateway", echo, broker, credential)
        person = keycloak.new_person()

        async def lend(authority: Authority, run: int) -> None:
            await _exchange(authority, run, keycloak, person)

        took = uvloop.run(_measure(configuration, runs, lend))
    return Figure(f"signal → {LEASES} Keycloak tokens of a user revoked and proven", tuple(took), "s", 1.0)


def _configure(folder: Path, echo: str, broker: dict[str, Any], credential: dict[str, Any]) -> config.Configuration:
    folder.mkdir(parents=True, exist_ok=True)
    tools = {"*": {"effect": "read", "egress": False, "sensitivity": "internal"}}
    upstream = {"url": echo, "audience": "https://u.example", "environment": "bench", "tools": tools}
    document = {
        "identity": [{"kind": "development"}],
        "telemetry": {"level": "error"},
        "authority": {"ttl": {"default": "15m"}},
        "brokers": {"issuer": broker},
        "upstreams": {UPSTREAM: {**upstream, "credential": credential}},
    }
    return config.parse(yaml.safe_dump(document), base=folder)


async def _measure(
    configuration: config.Configuration, runs: int, lend: Callable[[Authority, int], Coroutine[Any, Any, None]]
) -> list[float]:
    """Return the seconds of each run from the end of its leases until all are proven dead."""
    took: list[float] = []
    async with open_gateway(configuration) as gateway:
        authority = authority_of(gateway)
        for run in range(runs):
            await lend(authority, run)
            begun = time.perf_counter()
            ended = authority.leases.end_all(_is_measured, "signal")
            if ended != LEASES:
                raise SystemExit(f"{ended} leases were open")
            while any(map(_is_measured, authority.leases.all())):  # noqa: ASYNC110 - as an observer sees it
                await asyncio.sleep(0.002)
            took.append(time.perf_counter() - begun)
    return took


def _is_measured(lease: Lease) -> bool:
    return lease.user == "ada"


def _purpose(task: str, issuer: str = "https://idp.example", token: str | None = None) -> Purpose:
    principal = Principal("agent", issuer, AuthMethod.JWT, user=User("ada"))
    return Purpose(f"{MESSAGES}{task}", principal, subject_token=token)


async def _lend_to_one_task(authority: Authority, run: int) -> None:
    purpose = _purpose(f"bench-{run}")
    scopes = [Scope((f"s{number}",)) for number in range(LEASES)]
    await _few_at_once(lend_for(authority, "issuer", UPSTREAM, purpose, scope) for scope in scopes)


async def _exchange(authority: Authority, run: int, keycloak: Keycloak, person: Person) -> None:
    token = await asyncio.to_thread(keycloak.token, person)
    purposes = [_purpose(f"bench-{run}-{number}", keycloak.issuer, token) for number in range(LEASES)]
    scope = Scope(("tickets.read",))
    await _few_at_once(lend_for(authority, "issuer", UPSTREAM, purpose, scope) for purpose in purposes)


async def _few_at_once(works: Iterable[Coroutine[Any, Any, object]]) -> None:
    room = asyncio.Semaphore(_AT_ONCE)

    async def do(work: Coroutine[Any, Any, object]) -> None:
        async with room:
            await work

    await asyncio.gather(*map(do, works))


async def _revoke_alone(bao: OpenBao, runs: int) -> list[float]:
    """Return the seconds in which OpenBao itself revokes a token with 100 secrets."""
    took: list[float] = []
    for _ in range(runs):
        child = await asyncio.to_thread(bao.ask, "POST", "auth/token/create", {"policies": ["tasks"], "ttl": "1h"})
        async with httpx2.AsyncClient(base_url=f"{bao.url}/v1/", trust_env=False, timeout=30) as http:
            headers = {"x-vault-token": child["auth"]["client_token"]}
            for _ in range(LEASES):
                (await http.get(PATH, headers=headers)).raise_for_status()
            begun = time.perf_counter()
            accessor = {"accessor": child["auth"]["accessor"]}
            await asyncio.to_thread(bao.ask, "POST", "auth/token/revoke-accessor", accessor)
            while (await http.request("LIST", _ROLES, headers=_ADMIN)).status_code != 404:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.005)
            took.append(time.perf_counter() - begun)
    return took


_ADMIN: Final = {"x-vault-token": ROOT_TOKEN}
