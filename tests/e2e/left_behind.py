"""The three checks at the end of each test of leases: no value is left anywhere, the journal verifies, and no lease is open."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from pathlib import Path

from tests.e2e.wire import Answer, entries, verified
from tests.servers.echo import Recorder
from tests.servers.serving import ServerProcess

ENDED = frozenset({"revoked", "expired", "lapsed", "failed", "abandoned"})


def tokens_of(issuer: str, echo: ServerProcess) -> set[str]:
    """Return the tokens of a gateway that an echo server has received."""
    found: set[str] = set()
    for record in Recorder(echo.origin).requests():
        for name, value in record["headers"]:
            if name == "authorization" and value.startswith("Bearer ey"):
                token = value.removeprefix("Bearer ")
                payload = token.split(".")[1]
                if json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["iss"] == issuer:
                    found.add(token)
    assert found, "the gateway issued nothing"
    return found


def forms_of(value: str) -> tuple[bytes, ...]:
    """Return a value as it is, in hex, and in base64 at each of the three offsets in a longer text."""
    raw = value.encode()
    encoded = {base64.b64encode(b"x" * pad + raw)[4 if pad else 0 : -4] for pad in range(3)}
    return raw, raw.hex().encode(), raw.hex().upper().encode(), *encoded


def places_of(values: Iterable[str], folder: Path, answers: Iterable[Answer] = ()) -> list[str]:
    """Return the files of a gateway and the answers to agents that have a value, in any of its forms."""
    forms = [form for value in values for form in forms_of(value)]
    said = {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    said |= {f"answer {n}": answer.body + str(answer.headers).encode() for n, answer in enumerate(answers)}
    return [place for place, text in said.items() if any(form in text for form in forms)]


def open_leases(folder: Path) -> dict[str, str]:
    """Return the leases whose end is not in the journal, with their last event."""
    last = {entry["id"]: entry["event"] for entry in entries(folder, "lease")}
    return {name: event for name, event in last.items() if event not in ENDED}


def check_all_ended(folder: Path, values: Iterable[str], answers: Iterable[Answer] = ()) -> None:
    """Check a gateway that has stopped. `values` are all that it issued, `answers` all that agents got."""
    issued = tuple(values)
    assert all(issued), "an empty value is in each file"
    assert places_of(issued, folder, answers) == []
    assert open_leases(folder) == {}
    assert verified(folder).ok
