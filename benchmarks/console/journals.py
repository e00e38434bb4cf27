"""Journals of any size for the console: entries of real calls under other ids, written by the journal's own appender."""

from __future__ import annotations

import itertools
import json
import random
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from gateway import config
from gateway.config import keys
from gateway.record.journal.chain import Chain, timestamp
from gateway.record.journal.entry_index import EntryIndex
from gateway.record.journal.retention import prune
from gateway.record.journal.segment import Appender, Pending
from gateway.record.journal.storage import Disk

RARE: Final = "rare-agent"
_SEGMENT: Final = 64 * 2**20
_AGENTS: Final = tuple(f"agent-{number}" for number in range(20))
_TASK: Final = 40
"""Calls of one task. Tasks run beside each other, sixteen at a time."""
_AT_ONCE: Final = 16
_BATCH: Final = 200


def read_entries(folder: Path) -> list[dict[str, Any]]:
    """Return the entries of a small journal."""
    lines = (line for path in sorted(folder.glob("*.jsonl")) for line in path.read_bytes().splitlines())
    return [json.loads(line) for line in lines]


def replace_journal(configuration_path: Path, *, calls: int = 0, size: int = 0) -> int:
    """Put a journal of so many calls, or of so many bytes, in the place of the small one. Return the number of calls.

    The gateway must not run. Its keys stay.
    """
    configuration = config.load(configuration_path)
    folder = configuration.journal.path
    entries = read_entries(folder)
    templates = [entry for entry in entries if entry["kind"] in {"call", "settled"}]
    shutil.rmtree(folder)
    for path in configuration.state.glob("history*"):
        shutil.rmtree(path)
    folder.mkdir(mode=0o700)
    chain = Chain.of(keys.read_chain(configuration))
    fingerprints = str(entries[0]["fingerprints"])
    appender = Appender(folder, chain, Disk(), limit=_SEGMENT, durable=False, fingerprints=fingerprints)
    begun = time.time() - 30 * 86_400
    appender.begin("bench", timestamp(begun))
    made = _make_calls(templates, begun)
    written = count = 0
    while count < calls or written < size:
        batch = list(itertools.islice(made, _BATCH))
        pending = [one for pair in batch for one in pair]
        _, problem = appender.append(pending, timestamp(begun + count))
        if problem is not None:
            raise SystemExit(problem.message)
        written += sum(len(one.fields) + 150 for one in pending)
        count += len(batch)
    appender.close()
    return count


def set_aside(configuration_path: Path, archive: Path) -> None:
    """Move all but the last file of a journal away, as retention does. A gateway then starts without the history of a million entries."""
    configuration = config.load(configuration_path)
    key, now = keys.read_chain(configuration), timestamp(time.time())
    if key is None:
        raise SystemExit("the journal of the benchmark has no key")
    prune(configuration.journal.path, key=key, before=now, time=now, archive=archive)


def put_back(configuration_path: Path, archive: Path) -> None:
    """Move the files of an archive back beside the last one."""
    folder = config.load(configuration_path).journal.path
    for path in archive.glob("*.jsonl"):
        path.rename(folder / path.name)


def _make_calls(templates: list[dict[str, Any]], begun: float) -> Iterator[list[Pending]]:
    """Yield calls with their outcomes: every tenth call is refused, and every 20,000th is of a rare agent."""
    chance = random.Random(3)
    by_effect = {entry["effect"]: entry for entry in templates if entry["kind"] == "call"}
    settled = next(entry for entry in templates if entry["kind"] == "settled")
    tasks = [_new_task(chance, begun) for _ in range(_AT_ONCE)]
    for number in itertools.count():
        at = number % _AT_ONCE
        if tasks[at]["left"] == 0:
            tasks[at] = _new_task(chance, begun + number)
        task = tasks[at]
        task["left"] -= 1
        template = by_effect["deny" if number % 10 == 7 else "allow"]
        identifier = str(uuid.UUID(int=chance.getrandbits(128)))
        agent = RARE if number % 20_000 == 19_999 else task["agent"]
        call = {
            **_fields(template),
            "id": identifier,
            "principal": {**template["principal"], "id": agent},
            "task": {"id": task["id"], "kind": "implicit"},
            "history": {**template["history"], "opened": task["opened"], "number": _TASK - task["left"]},
        }
        pending = [Pending("call", msgspec.json.encode(call), opens=None)]
        if template["effect"] == "allow":
            pending.append(Pending("settled", msgspec.json.encode({**_fields(settled), "id": identifier})))
        yield pending


def _new_task(chance: random.Random, opened: float) -> dict[str, Any]:
    return {
        "id": f"task-{uuid.UUID(int=chance.getrandbits(128))}",
        "agent": chance.choice(_AGENTS),
        "opened": opened,
        "left": _TASK,
    }


def _fields(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name not in {"seq", "time", "kind", "prev", "check"}}


def build_index(configuration_path: Path) -> float:
    """Index a journal in this process as the console does, and return the seconds."""
    configuration = config.load(configuration_path)
    index = EntryIndex(configuration.journal.path, keys.read_chain(configuration))
    begun = time.perf_counter()
    index.find_tasks({}, lambda _last, _rows: False, budget=2**40)
    return time.perf_counter() - begun
