"""Racing transfers never pass a declared total, also if the gateway is killed midway and started again.

The total is judged by the upstream's own ledger, whose answers are lost in many ways. `OPAGATE_TOTAL_RUNS` and
`OPAGATE_TOTAL_TRANSFERS` make a longer run.
"""

from __future__ import annotations

import http.client
import os
import signal
from collections import Counter
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random

import pytest

from tests.e2e.running import mortal_gateway
from tests.e2e.test_effects import _await_gateway, read_ledger
from tests.e2e.test_postgresql import share_keys
from tests.e2e.wire import call, caller, stateless, until
from tests.gateway_process import GatewayProcess, free_port
from tests.servers import serving
from tests.unit.base.store.postgresql_server import running_postgresql

RUNS = int(os.environ.get("OPAGATE_TOTAL_RUNS", "1"))
TRANSFERS = int(os.environ.get("OPAGATE_TOTAL_TRANSFERS", "300"))
TOTAL, AMOUNT = 500, 10
FACTS = """
facts:
  paid:
    sum: /arguments/amount
    of: {tool: ledger/pay, outcome: [open, done, unknown]}
    by: [user]
    within: 24h
"""
RULE = """
# METADATA
# scope: package
# title: A user pays at most 500 a day
package overlay.total

import rego.v1

# METADATA
# title: A payment beyond the total of its user is refused
# custom:
#   code: acme-total/passed
#   message: The payments of this user would pass 500 within a day.
#   remedy: Pay less, or wait.
#   controls: [ASI02]
denials contains {"code": "acme-total/passed", "facts": ["/resource/id", "/facts/paid"]} if {
	input.resource.id == "ledger/pay"
	not _is_within
}

_is_within if input.facts.paid <= 500
"""
GRANTS = """
upstreams:
  ledger:
    - {id: pay, agents: ["*"], issuers: ["*"], tools: [pay], effects: [write]}
"""
CONFIG = """
identity: [{kind: development}]
policy: {grants: ../grants.yaml, overlay: ../own, engine: {kind: embedded, deadline: 20s}}
limits: {first_byte: 1s, connect: 5s, in_flight_per_caller: 1000, task: {calls: {soft: 100000, hard: 200000}}}
upstreams:
  ledger:
    url: URL
    audience: ledger
    environment: test
    trust: trusted
    tools:
      pay: {effect: write, egress: false, sensitivity: internal}
state: state
"""


@contextmanager
def stored(kind: str) -> Generator[tuple[str, dict[str, str]]]:
    """Yield the setting of a store, and the environment of its gateways."""
    if kind == "embedded":
        yield "", {}
        return
    with running_postgresql() as database:
        yield (
            "store: {kind: postgresql, url: '${STORE_URL}', deadline: 5s}\n",
            {"STORE_URL": database.url},
        )


def transfer(gateways: dict[int, GatewayProcess], number: int) -> str:
    """Make a transfer once, at the gateways by turns. Return what the client was told."""
    gateway = gateways[number % len(gateways)]
    _await_gateway(gateway)
    client = caller(gateway, f"agent-{number % 4}", "ledger", user="ann")
    try:
        answer = client.ask(call("pay", stateless, order=f"order-{number}", amount=AMOUNT))
        return answer.codes[0] if answer.codes else "answered"
    except (OSError, http.client.HTTPException, ValueError, KeyError):
        return "lost"


def paid(ledger: Path) -> int:
    return sum(line["amount"] for line in read_ledger(ledger) if line["acts"])


@pytest.mark.parametrize("kind", ["embedded", "postgresql"])
@pytest.mark.parametrize("seed", range(RUNS))
def test_racing_transfers_never_pass_a_total_over_kill_9(tmp_path: Path, seed: int, kind: str):
    """With a database there are two gateways, and the other one goes on while the first is dead."""
    write_rules(tmp_path)
    ledger, random = tmp_path / "ledger.jsonl", Random(seed)
    arguments = ("--ledger", str(ledger), "--seed", str(seed))
    with (
        stored(kind) as (setting, environment),
        serving.running("tests.servers.ledger", tmp_path / "ledger.log", arguments) as server,
        ThreadPoolExecutor(16) as threads,
        ExitStack() as stack,
    ):
        config, running = CONFIG.replace("URL", server.mcp) + setting, dict[int, GatewayProcess]()
        midway, ports = random.randrange(5, 40), [free_port(), free_port()]

        def start(number: int) -> GatewayProcess:
            folder = tmp_path / f"gateway-{number}"
            gateway = mortal_gateway(config, folder, port=ports[number], environment=environment)
            return stack.enter_context(gateway)

        for number in range(1 if kind == "embedded" else 2):
            (tmp_path / f"gateway-{number}").mkdir()
            if number:
                share_keys(tmp_path / "gateway-0", tmp_path / f"gateway-{number}")
            running[number] = start(number)
        told = [threads.submit(transfer, running, number) for number in range(TRANSFERS)]
        until(lambda: len(read_ledger(ledger)) >= midway, within=300)
        running[0].process.send_signal(signal.SIGKILL)
        running[0].process.wait(60)
        running[0] = start(0)
        words = [future.result() for future in told]
        # Last ones, when nothing is under way.
        last = {transfer(running, TRANSFERS + number) for number in running}

    total = paid(ledger)
    print(f"kind={kind} seed={seed} killed_after={midway} paid={total} told={dict(Counter(words))}")  # noqa: T201
    assert last == {"acme-total/passed"}, "all of the room was used"
    assert TOTAL // 3 <= total <= TOTAL


def write_rules(folder: Path) -> None:
    """Write the grants and the overlay, which all gateways have."""
    (folder / "grants.yaml").write_text(GRANTS, "utf-8")
    (folder / "own/total").mkdir(parents=True)
    (folder / "own/facts.yaml").write_text(FACTS, "utf-8")
    (folder / "own/total/total.rego").write_text(RULE, "utf-8")
