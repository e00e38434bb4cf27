"""Two gateways on one PostgreSQL: a question of one is answered at the other, and one of them sends the messages."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.running import mortal_gateway
from tests.e2e.test_approval_channels import webhook, with_channels
from tests.e2e.test_approvals import approve, configured, received, waiting
from tests.e2e.test_postgresql import MARGIN, STORE, TAKEOVER, share_keys
from tests.e2e.wire import caller, entries, until, verified
from tests.gateway_process import GatewayProcess
from tests.servers.receivers import SECRET, receiving
from tests.servers.serving import ServerProcess
from tests.unit.base.store.postgresql_server import PostgresServer, running_postgresql


@pytest.fixture
def database() -> Generator[PostgresServer]:
    with running_postgresql() as server:
        yield server


@contextmanager
def two_gateways(
    config: str, folder: Path, database: PostgresServer
) -> Generator[tuple[GatewayProcess, GatewayProcess]]:
    """Run two gateways with the same configuration, in the folders `a` and `b`."""
    shared, environment = config + STORE, {"STORE_URL": database.url}
    with mortal_gateway(shared, folder / "a", environment=environment) as a:
        share_keys(folder / "a", folder / "b")
        with mortal_gateway(shared, folder / "b", environment=environment) as b:
            yield a, b


def folders(folder: Path) -> tuple[Path, Path]:
    for name in ("a", "b"):
        (folder / name).mkdir()
    return folder / "a", folder / "b"


def test_a_call_held_at_one_gateway_goes_on_after_a_yes_at_the_other_and_passes_once(
    echo_server: ServerProcess, database: PostgresServer, tmp_path: Path
):
    first, second = folders(tmp_path)
    config, _ = (configured(folder, echo_server, "60s") for folder in (first, second))
    text, answers = f"held-{tmp_path.name}", list[str]()
    with two_gateways(config, tmp_path, database) as (a, b):
        held = threading.Thread(target=lambda: answers.append(caller(a, "ann", "echo").call("echo", text=text).text))
        held.start()
        until(lambda: waiting(second))
        (asked,) = waiting(second)
        began = time.monotonic()
        approve(second, asked["id"])
        held.join(60)

        assert answers == [text]
        assert time.monotonic() - began < 60
        # The approval is used at both gateways: an equal call at the other one asks anew, and has its own question.
        again = threading.Thread(target=lambda: caller(b, "ann", "echo").call("echo", text=text))
        again.start()
        until(lambda: [one["state"] for one in waiting(first)] == ["pending"])
        (anew,) = waiting(first)
        assert anew["id"] != asked["id"]
        approve(first, anew["id"])
        again.join(60)

    assert received(echo_server, text) == 2
    events = [
        [entry["event"] for entry in entries(each, "approval") if entry["id"] == asked["id"]]
        for each in (first, second)
    ]
    assert events == [["asked"], ["granted"]]
    assert all(verified(each).ok for each in (first, second))


def test_one_gateway_sends_each_message_and_another_takes_over_after_kill_9(
    echo_server: ServerProcess, database: PostgresServer, tmp_path: Path
):
    each = folders(tmp_path)
    with receiving() as hooks:
        for folder in each:
            (folder / "hook-secret").write_text(SECRET, "utf-8")
        config, _ = (with_channels(folder, echo_server, "10ms", webhook(hooks.url)) for folder in each)
        with two_gateways(config, tmp_path, database) as gateways:
            for number, gateway in enumerate(gateways):
                caller(gateway, f"ann-{number}", "echo").call("echo", text=f"asked-{number}")
            until(lambda: len(told(each)) == 2)
            sender = next(
                n for n, folder in enumerate(each) if '"is_sender": true' in (folder / "gateway.log").read_text()
            )
            gateways[sender].process.kill()
            killed = time.monotonic()
            caller(gateways[1 - sender], "eve", "echo").call("echo", text="asked-after")
            until(lambda: len(told(each)) == 3)
            assert time.monotonic() - killed < TAKEOVER + MARGIN
            assert len(waiting(each[1 - sender])) == 3
    # The kill may come between a delivery and its record: that message alone comes again, with the same id.
    counts = sorted(told(each).values())
    assert counts[:2] == [1, 1]
    assert counts[2] <= 2


def told(folders: tuple[Path, Path]) -> Counter[str]:
    """Return the numbers of deliveries by the ids of their messages, as both journals have them."""
    recorded = [entry for folder in folders for entry in entries(folder, "approval")]
    return Counter(entry["message"] for entry in recorded if entry["event"] == "sent")
