"""Journals whose lines a test writes itself, with calls of several agents and tasks."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from gateway.record.journal.chain import GENESIS, Chain, timestamp
from gateway.record.journal.entry_index import EntryIndex

KEY = b"k" * 32


class Written:
    """A journal whose lines this test writes. `lines` has all of them with their segments."""

    def __init__(self, folder: Path, key: bytes = KEY) -> None:
        self.folder = folder
        self.chain = Chain.of(key)
        self.link, self.seq, self.segment = GENESIS, 0, 0
        self.lines: list[tuple[int, dict[str, Any]]] = []
        self.indexes: list[EntryIndex] = []
        folder.mkdir(exist_ok=True)
        self.begin()

    def begin(self) -> None:
        self.segment += 1
        chain, key = self.chain.name, self.chain.key_id
        self.write("segment", segment=self.segment, journal="written", chain=chain, key=key)

    def write(self, kind: str, **fields: Any) -> None:
        self.seq += 1
        line, self.link = self.chain.linked(self.seq, timestamp(self.seq), kind, msgspec.json.encode(fields), self.link)
        with self.path().open("ab") as file:
            file.write(line + b"\n")
        self.lines.append((self.segment, msgspec.json.decode(line)))

    def path(self, segment: int | None = None) -> Path:
        return self.folder / f"{segment or self.segment:08d}.jsonl"

    def call(self, identifier: str, task: str = "t", effect: str = "allow", **more: Any) -> None:
        fields = {
            "id": identifier,
            "effect": effect,
            "reasons": [{"code": code} for code in more.get("codes", ())],
            "principal": {"id": more.get("agent", "ann"), "user": more.get("user")},
            "task": {"id": task, "kind": "implicit"},
            "target": {"upstream": more.get("upstream", "files")},
            "history": {"opened": more.get("opened", 0)},
        }
        self.write("call", **fields)

    def index(self) -> EntryIndex:
        self.indexes.append(EntryIndex(self.folder, KEY, rest=lambda _: None))
        return self.indexes[-1]

    def close(self) -> None:
        for index in self.indexes:
            index.close()


def fill(written: Written, count: int = 120, segments: int = 4) -> None:
    """Write calls of several agents, tasks and effects, over several segments."""
    chance = random.Random(7)
    for number in range(count):
        if number and number % (count // segments) == 0:
            written.begin()
        effect = chance.choice(["allow", "allow", "ask", "deny"])
        codes = () if effect == "allow" else chance.sample(["a/one", "a/two", "b/three"], 2)
        written.call(
            f"id-{number}",
            f"task-{chance.randrange(9)}",
            effect,
            agent=chance.choice(["ann", "ben", "<script>", "zo\u00eb \ud800"[:3]]),
            upstream=chance.choice(["files", "mail"]),
            codes=codes,
        )
        if effect == "allow" and chance.random() < 0.9:
            written.write("settled", id=f"id-{number}", outcome="completed")
        if chance.random() < 0.1:
            written.write("refused", id=f"refused-{number}", reasons=[{"code": "http/size"}])


def named(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of an entry that a search looks at."""

    def inner(part: str, name: str) -> Any:
        found: dict[str, Any] = entry.get(part) or {}
        return found.get(name)

    return {
        "id": entry.get("id"),
        "task": inner("task", "id"),
        "agent": inner("principal", "id"),
        "upstream": inner("target", "upstream"),
    }
