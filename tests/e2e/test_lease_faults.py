"""Leases while the journal is away, and while an operator ends them under load."""

from __future__ import annotations

import json
import threading
import uuid
from typing import TYPE_CHECKING, Any, Self

import pytest
import yaml

from gateway.surfaces.cli.control_client import connect_to_gateway
from tests.e2e.left_behind import check_all_ended
from tests.e2e.running import mortal_gateway
from tests.e2e.test_leases import carried, configured
from tests.e2e.wire import Answer, caller, entries, until
from tests.servers.echo import Recorder

if TYPE_CHECKING:
    from pathlib import Path

    from tests.gateway_process import GatewayProcess
    from tests.servers.serving import ServerProcess


def leases_of(folder: Path, agent: str) -> list[dict[str, Any]]:
    with connect_to_gateway(folder / "state/control.sock") as operator:
        return [lease for lease in operator.ask("leases/list") if lease["agent"] == agent]


def test_without_the_journal_nothing_is_lent_and_all_leases_end(echo_server: ServerProcess, tmp_path: Path):
    config = yaml.safe_load(configured(tmp_path, echo_server.mcp)) | {"authority": {"journal_outage": "1s"}}
    journal, away = tmp_path / "state/journal", tmp_path / "away"
    with mortal_gateway(yaml.safe_dump(config), tmp_path) as gateway:
        ann, bob = caller(gateway, "ann", "task"), caller(gateway, "bob", "task")
        answers = [ann.call("echo", text="before-the-journal-is-away")]
        journal.rename(away)
        answers += [
            ann.call("echo", text="while-the-journal-is-away"),
            bob.call("echo", text="while-the-journal-is-away"),
        ]
        assert [answer.codes for answer in answers[1:]] == [["journal/unavailable"]] * 2
        until(lambda: leases_of(tmp_path, "ann") == [])
        away.rename(journal)
        until(lambda: '"journal.resumed"' in gateway.printed())
        answers.append(ann.call("echo", text="after-the-journal-was-away"))
        until(lambda: "journal-outage" in {entry.get("cause") for entry in entries(tmp_path, "lease")})
        gateway.process.terminate()
        assert gateway.process.wait(60) == 0

    sent = [record["body"] for record in Recorder(echo_server.origin).requests()]
    assert not [body for body in sent if "while-the-journal-is-away" in body]
    values = [carried(echo_server, text) for text in ("before-the-journal-is-away", "after-the-journal-was-away")]
    assert values[0] != values[1]
    assert sum(entry["lost"].get("lease", 0) for entry in entries(tmp_path, "resumed")) >= 1
    check_all_ended(tmp_path, values, answers)


class Load:
    """Agents that call without a pause, each in a thread. `numbers` has the number of the last call that began."""

    def __init__(self, gateway: GatewayProcess, *agents: str) -> None:
        self._gateway = gateway
        self.mark = uuid.uuid4().hex
        self._stop = threading.Event()
        self.numbers = dict.fromkeys(agents, 0)
        self.answers: list[Answer] = []
        self._threads = [threading.Thread(target=self._call, args=(agent,)) for agent in agents]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _call(self, agent: str) -> None:
        client = caller(self._gateway, agent, "task")
        while not self._stop.is_set():
            number = self.numbers[agent] = self.numbers[agent] + 1
            self.answers.append(client.call("echo", text=f"{self.mark}-{agent}-{number}"))

    def go_on(self, calls: int = 5) -> None:
        """Wait for some more calls of each agent."""
        wanted = {agent: number + calls for agent, number in self.numbers.items()}
        until(lambda: all(self.numbers[agent] >= number for agent, number in wanted.items()))


def values_by_call(echo: ServerProcess, mark: str, agent: str) -> dict[int, str]:
    """Return the credential of each call of an agent."""
    found: dict[int, str] = {}
    for record in Recorder(echo.origin).requests():
        if f"{mark}-{agent}-" in record["body"]:
            number = int(json.loads(record["body"])["params"]["arguments"]["text"].rpartition("-")[2])
            (value,) = [value for name, value in record["headers"] if name == "authorization"]
            found[number] = value
    return found


@pytest.mark.parametrize("chosen", [{"agent": "ann"}, {"all": True}])
def test_a_revocation_under_load_ends_these_leases_and_no_others(
    echo_server: ServerProcess, tmp_path: Path, chosen: dict[str, Any]
):
    with mortal_gateway(configured(tmp_path, echo_server.mcp), tmp_path) as gateway:
        with Load(gateway, "ann", "bob", "eve") as load:
            load.go_on()
            with connect_to_gateway(tmp_path / "state/control.sock") as operator:
                operator.ask("leases/revoke", **chosen)
            begun = dict(load.numbers)
            load.go_on()
        gateway.process.terminate()
        assert gateway.process.wait(60) == 0

    for agent, last in begun.items():
        values = values_by_call(echo_server, load.mark, agent)
        before = {value for number, value in values.items() if number <= last}
        after = {value for number, value in values.items() if number > last}
        is_chosen = chosen.get("agent", agent) == agent
        assert len(after) == 1
        assert (after & {values[1]} == set()) if is_chosen else (before == after)
        check_all_ended(tmp_path, {value.removeprefix("Bearer ") for value in values.values()}, load.answers)
    # The answers that were under way are cut.
    assert len([answer for answer in load.answers if answer.status != 200]) <= len(begun)
    assert {answer.status for answer in load.answers} <= {200, 502}
