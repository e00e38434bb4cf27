"""Two gateways with one history behind a balancer: their callers cannot tell them apart, also not by the loss of one."""

from __future__ import annotations

import http.client
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from tests.e2e.balancing import running_haproxy
from tests.e2e.conftest import policy
from tests.e2e.running import mortal_gateway
from tests.e2e.test_postgresql import STORE, share_keys
from tests.e2e.wire import JSON, call, entries, page, until, verified
from tests.gateway_process import free_port, open_config
from tests.servers.serving import ServerProcess
from tests.unit.base.store.postgresql_server import running_postgresql

CALLS = 40


def echo(origin: str, text: str) -> str:
    """Call through the balancer on a new connection. Return what is wrong with the answer, and nothing for the right one."""
    sent = call("echo", text=text)
    connection = http.client.HTTPConnection(origin.removeprefix("http://"), timeout=300)
    try:
        connection.request("POST", "/mcp/echo", sent.body, {**JSON, **sent.headers})
        answer = connection.getresponse()
        body = answer.read()
        return "" if answer.status == 200 and text.encode() in body else f"{answer.status} {body!r}"
    except (OSError, http.client.HTTPException) as error:
        return repr(error)
    finally:
        connection.close()


def numbers(*folders: Path) -> list[int]:
    """Return the numbers of the allowed calls in the journals, which are all of one task."""
    found = [entry for folder in folders for entry in entries(folder, "call") if entry["effect"] == "allow"]
    assert len({entry["task"]["id"] for entry in found}) == 1
    return sorted(entry["history"]["number"] for entry in found)


def test_gateways_behind_a_balancer_count_each_call_of_a_task_once(
    haproxy_path: Path, echo_server: ServerProcess, tmp_path: Path
):
    front, ports = free_port(), {"one": free_port(), "two": free_port()}
    first, second = tmp_path / "one", tmp_path / "two"
    first.mkdir()
    second.mkdir()
    setup = open_config(policy(tmp_path), {"echo": echo_server.mcp}) + f"public_url: http://127.0.0.1:{front}\n{STORE}"
    with running_postgresql() as database, ExitStack() as stack:
        environment = {"STORE_URL": database.url}
        one = stack.enter_context(mortal_gateway(setup, first, port=ports["one"], environment=environment))
        share_keys(first, second)
        changed = f"{setup}limits: {{drain: 11s}}\n"
        two = stack.enter_context(mortal_gateway(changed, second, port=ports["two"], environment=environment))
        origin = stack.enter_context(running_haproxy(haproxy_path, tmp_path, front, ports, retries=1))
        with ThreadPoolExecutor(8) as threads:
            assert not any(faults := list(threads.map(partial(echo, origin), map("call-{}".format, range(CALLS))))), (
                faults
            )
        assert entries(first, "call")
        assert entries(second, "call")
        assert numbers(first, second) == list(range(1, CALLS + 1))

        for gateway in (one, two):
            until(lambda gateway=gateway: '"store.differs"' in gateway.printed())
            status, readiness = page(gateway, "/readyz")
            assert (status, list(json.loads(readiness)["differs"].values())) == (200, [["limits"]])

        one.process.kill()
        one.process.wait(60)
        until(lambda: not echo(origin, "after-the-loss"))
        assert not any(faults := [echo(origin, f"later-{number}") for number in range(CALLS)]), faults

    found = numbers(first, second)
    assert len(found) == len(set(found)) > 2 * CALLS
    assert verified(first).ok
    assert verified(second).ok
