"""Ends of the gateway's own tokens, seen from outside over HTTP and the operators' socket, and after a kill -9."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx2
import yaml

from benchmarks.authority.figures import Figure
from benchmarks.authority.lending_gateway import OF_USER, UPSTREAM
from benchmarks.gateway import targets
from gateway import config
from gateway.identity import development
from gateway.surfaces.cli.control_client import ControlRefusal, connect_to_gateway
from gateway.surfaces.demo.thief import Thief
from tests.signalling import ISSUER, Provider, account

if TYPE_CHECKING:
    from collections.abc import Generator

SECRET: Final = "s" * 40
AUDIENCE: Final = "https://u.example"
SIGNALS: Final = "https://gateway.example/signals"
STREAM: Final = {"kind": "ssf", "transmitter": ISSUER, "name": "idp", "audience": SIGNALS, "jwks": "file:idp.json"}
GRANTS: Final = """
upstreams:
  u: [{id: bench, agents: ["*"], issuers: ["*"], tools: ["*"]}]
"""
_START_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True)
class Running:
    """A gateway in a process of its own."""

    origin: str
    state: Path
    token: str


def configure(folder: Path, url: str, **more: Any) -> Path:
    """Write the configuration of a gateway whose upstream gets tokens of the task, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "grants.yaml").write_text(GRANTS, "utf-8")
    credential = {"kind": "gateway", "bind": "task", "scopes": {"read": ["read"]}}
    tools = {"*": {"effect": "read", "egress": False, "sensitivity": "internal"}}
    upstream = {"url": url, "audience": AUDIENCE, "environment": "bench", "tools": tools, "credential": credential}
    clients = [{"id": UPSTREAM, "secret": "${BENCH_SECRET}", "audiences": [AUDIENCE]}]
    document = {
        "listen": f"127.0.0.1:{targets.free_port()}",
        "identity": [{"kind": "development"}],
        "operators": {"accounts": [{"uid": os.getuid(), "id": "bench"}]},
        "policy": {"grants": "grants.yaml"},
        "telemetry": {"level": "error"},
        "authority": {"ttl": {"default": "15m"}, "introspection": {"clients": clients}},
        "upstreams": {UPSTREAM: upstream},
        **more,
    }
    os.environ["BENCH_SECRET"] = SECRET
    (folder / "gateway.yaml").write_text(yaml.safe_dump(document), "utf-8")
    return folder / "gateway.yaml"


@contextmanager
def lending(path: Path, leases: int) -> Generator[tuple[Running, Any]]:
    """Run a gateway with open leases until the block ends. Gives its process too."""
    ready = path.with_name("ready")
    ready.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.authority.lending_gateway", str(path), str(leases)]
    with targets.process(command, core=targets.TARGET_CORE, folder=path.parent) as process:
        deadline = time.monotonic() + _START_SECONDS
        while not ready.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit((path.parent / "output.log").read_text("utf-8"))
            time.sleep(0.05)
        yield running_of(path), process


def running_of(path: Path) -> Running:
    configuration = config.load(path)
    token = development.issue(
        development.load_key(configuration.state),
        agent="bench",
        audience=f"{configuration.base_url}/mcp",
        ttl=7_200,
        clock=time.time,
    )
    return Running(configuration.base_url, configuration.state, token)


async def measure_own_tokens(folder: Path, echo: str, *, leases: int, runs: int) -> list[Figure]:
    """Measure the ends of tasks and the kill switch beside open leases."""
    thief = Thief()
    async with thief.before(echo) as url:
        provider = Provider()
        path = configure(folder, url, signals=[STREAM])
        provider.write_keys(folder)
        with lending(path, leases) as (gateway, _):
            headers = {"Authorization": f"Bearer {gateway.token}"}
            async with httpx2.AsyncClient(base_url=gateway.origin, headers=headers, timeout=30) as http:
                ends = [await _end_task(http, thief, gateway) for _ in range(runs)]
                told = [
                    await _signal(http, gateway, provider, f"user-{number}") for number in _last_users(leases, runs)
                ]
                revoked = [
                    _revoke(gateway, user=f"user-{number}") for number in range(min(runs, leases // OF_USER // 2))
                ]
                whole = await _revoke_all(http, gateway)
    beside = f"{leases:,} open leases"
    return [
        Figure(f"end of a task → no call can carry its token ({beside})", tuple(end[0] for end in ends), "ms", 0.01),
        Figure("end of a task → introspection says inactive", tuple(end[1] for end in ends), "ms", 0.01),
        Figure(f"`leases revoke --user` → no call can carry one of {OF_USER}", tuple(revoked), "ms", 0.01),
        Figure(
            f"pushed signal → accepted, {OF_USER} leases out of memory ({beside})",
            tuple(each[0] for each in told),
            "ms",
        ),
        Figure(
            f"pushed signal → {OF_USER} leases of its user ended and proven", tuple(each[1] for each in told), "ms", 1.0
        ),
        Figure(f"`leases revoke --all` → no call can carry one of {beside}", (whole[0],), "ms"),
        Figure(f"`leases revoke --all` → {beside} proven dead", (whole[1],), "s", 5.0),
        Figure("longest answer to another request meanwhile", (whole[2],), "ms"),
    ]


async def _end_task(http: httpx2.AsyncClient, thief: Thief, gateway: Running) -> tuple[float, float]:
    """Return the seconds until a task has ended, and until its token is inactive."""
    opened = (await http.post("/tasks", json={"goal": "measure", "expires_in": 600})).json()
    call = targets.stateless_call(f"{gateway.origin}/mcp/{UPSTREAM}", gateway.token)
    answer = await http.post(
        f"/mcp/{UPSTREAM}", content=call.body, headers={**dict(call.headers), "opagate-task": opened["token"]}
    )
    token = thief.stolen(opened["id"])
    if token is None:
        raise SystemExit(f"the benchmark's call carried no token: {answer.text}")
    if not await _is_active(http, token):
        raise SystemExit("the benchmark's token was never active")
    begun = time.perf_counter()
    (await http.post(f"/tasks/{opened['id']}/complete")).raise_for_status()
    ended = time.perf_counter()
    if await _is_active(http, token):
        raise SystemExit("the token of an ended task is active")
    return ended - begun, time.perf_counter() - begun


async def _is_active(http: httpx2.AsyncClient, token: str) -> bool:
    answer = await http.post("/oauth/introspect", data={"token": token}, auth=httpx2.BasicAuth(UPSTREAM, SECRET))
    return bool(answer.json()["active"])


def _last_users(leases: int, runs: int) -> range:
    """Return the numbers of users that no other measurement has."""
    users = leases // OF_USER
    return range(max(users - runs, users // 2), users)


async def _signal(http: httpx2.AsyncClient, gateway: Running, provider: Provider, user: str) -> tuple[float, float]:
    """Return the seconds from the push of an event until the gateway has taken it, and until each lease is proven dead."""
    with connect_to_gateway(gateway.state / "control.sock") as operator:
        left = [lease["id"] for lease in operator.ask("leases/list") if lease.get("user") == user]
        if len(left) != OF_USER:
            raise SystemExit(f"{user} had {len(left)} leases")
        event = provider.event(account(user), aud=SIGNALS)
        begun = time.perf_counter()
        answer = await http.post("/ssf/idp", content=event, headers={"content-type": "application/secevent+jwt"})
        if answer.status_code != 202:
            raise SystemExit(f"the event was refused: {answer.status_code} {answer.text}")
        taken = time.perf_counter() - begun
        for identifier in left:
            with suppress(ControlRefusal):
                if operator.ask("leases/show", id=identifier)["state"] == "active":
                    raise SystemExit(f"a call can carry {identifier}, though the event was accepted")
        while left:
            with suppress(ControlRefusal):
                operator.ask("leases/show", id=left[-1])
                continue
            left.pop()
        return taken, time.perf_counter() - begun


def _revoke(gateway: Running, **chosen: Any) -> float:
    with connect_to_gateway(gateway.state / "control.sock") as operator:
        begun = time.perf_counter()
        operator.ask("leases/revoke", **chosen)
        return time.perf_counter() - begun


async def _revoke_all(http: httpx2.AsyncClient, gateway: Running) -> tuple[float, float, float]:
    """Return the seconds until all leases began to end, until all are proven, and of the slowest other answer."""
    begun = time.perf_counter()
    revoking = asyncio.create_task(asyncio.to_thread(_revoke, gateway, all=True))
    slowest, left = 0.0, 1
    while left or not revoking.done():
        asked = time.perf_counter()
        page = (await http.get("/metrics")).text
        slowest = max(slowest, time.perf_counter() - asked)
        left = sum(int(float(number)) for number in re.findall(r"^opagate_leases\{.*\} (\S+)$", page, re.MULTILINE))
        await asyncio.sleep(0.005)
    return await revoking, time.perf_counter() - begun, slowest


@asynccontextmanager
async def _restarted(path: Path) -> AsyncGenerator[float]:
    """Start a gateway where another was killed. Gives the time of the start."""
    begun = time.perf_counter()
    command = [sys.executable, "-m", "gateway", "up", "--config", str(path)]
    with targets.process(command, core=targets.TARGET_CORE, folder=path.parent):
        yield begun


async def restart_seconds(path: Path) -> float:
    """Return the seconds from the start of a gateway until no lease of the killed one is open."""
    before = time.time()
    async with _restarted(path) as begun:
        while True:
            await asyncio.sleep(0.01)
            left = await asyncio.to_thread(_left, path, before)
            if left == 0:
                return time.perf_counter() - begun
            if time.perf_counter() - begun > _START_SECONDS:
                raise SystemExit(f"{left} leases of the killed gateway are open")


def _left(path: Path, before: float) -> int | None:
    """Return the number of open leases from before a time, `None` while the gateway does not answer."""
    state = config.load(path).state
    try:
        with connect_to_gateway(state / "control.sock") as operator:
            return sum(lease["requested"] < before for lease in operator.ask("leases/list"))
    except Exception:  # noqa: BLE001 - it has not started yet
        return None


async def measure_kill(folder: Path, echo: str, *, leases: int, runs: int) -> Figure:
    """Measure a restart after kill -9."""
    path, took = configure(folder, echo), list[float]()
    for _ in range(runs):
        with lending(path, leases) as (_, process):
            process.send_signal(signal.SIGKILL)
            process.wait()
        took.append(await restart_seconds(path))
    return Figure(f"start after kill -9 → {leases:,} leases of before proven dead", tuple(took), "s", 5.0)
