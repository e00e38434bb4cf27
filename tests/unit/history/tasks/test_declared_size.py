"""A declaration takes no more memory than it is counted for, and little of the journal, whatever is written into it."""

from __future__ import annotations

import gc
import json
import logging
import tracemalloc
from collections.abc import Callable, Mapping
from random import Random
from string import ascii_letters, ascii_lowercase, digits
from typing import Any, Final

import msgspec
import pytest

from gateway.config import HistorySettings
from gateway.history import History, build_history
from gateway.history.tasks.contract import MAX_BODY, MAX_CREDENTIALS, Declaration, read_declaration
from gateway.inspection.credentials import ruleset
from gateway.inspection.credentials.detect import Detector
from gateway.inspection.credentials.fingerprint import Fingerprints
from gateway.inspection.inspector import Inspector
from gateway.model.caller import AuthMethod, Principal
from gateway.model.errors import HistoryFull
from gateway.model.task import Task

FIGURES = logging.getLogger("figures")
COUNT: Final = 20
BESIDE: Final = 4_096
"""Bytes of any task."""
KEY: Final = b"k" * 32
INSPECTOR: Final = Inspector(KEY, Detector(ruleset.load(), Fingerprints(KEY)))
Fields = Mapping[str, Any]


def letters(random: Random, count: int, of: str = ascii_lowercase) -> str:
    return "".join(random.choices(of, k=count))


def words(random: Random, length: int, size: int = 8_000) -> str:
    return " ".join(letters(random, length) for _ in range(size // (length + 1)))


def destinations(random: Random, count: int) -> list[str]:
    return [f"{letters(random, 5)}@{letters(random, 4)}.example" for _ in range(count)]


SHAPES: Final[Mapping[str, Callable[[Random], Fields]]] = {
    "short words": lambda random: {"goal": words(random, 2)},
    "long words": lambda random: {"goal": words(random, 12)},
    "numbers": lambda random: {"goal": " ".join(letters(random, 7, digits) for _ in range(1_000))},
    "one wide letter": lambda random: {"goal": "ж" + words(random, 5, 7_900)},
    "many destinations": lambda random: {"contract": {"destinations": destinations(random, 256)}},
    "many short items": lambda random: {
        "contract": {
            **{name: [letters(random, 2) for _ in range(256)] for name in ("audiences", "tools", "destinations")},
            "credential_flows": [{"from": "a", "to": letters(random, 1)} for _ in range(200)],
        }
    },
    "credentials": lambda random: {
        "goal": " ".join("ghp_" + letters(random, 36, ascii_letters + digits) for _ in range(MAX_CREDENTIALS))
    },
    "long passwords": lambda random: {
        "goal": " ".join(f"password={letters(random, 300, ascii_letters + digits)}" for _ in range(MAX_CREDENTIALS))
    },
    "usual": lambda _: {"goal": "Sort the open tickets of this week", "contract": {"tools": ["tickets/*"]}},
}


def declared(number: int, fields: Fields) -> Task:
    body = json.dumps(fields, ensure_ascii=False).encode()
    assert len(body) <= MAX_BODY
    found = read_declaration(body)
    assert isinstance(found, Declaration), found
    return Task(f"t{number}", "declared", 0.0, 3600.0, goal=found.goal, contract=found.contract)


def open_all(history: History, who: Principal, tasks: list[Task]) -> None:
    for task in tasks:
        history.tasks.open(who, task, INSPECTOR.declared(task.goal, task.contract))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_declaration_takes_no_more_memory_than_it_is_counted_for(shape: str):
    random, history = Random(1), build_history(HistorySettings(), clock=lambda: 0.0, conceal=lambda goal, _kept: goal)
    callers = [Principal(f"a{number}", "i", AuthMethod.JWT) for number in range(COUNT)]
    bodies = [SHAPES[shape](random) for _ in range(COUNT)]
    line = 0
    warm = declared(COUNT, bodies[0])
    INSPECTOR.declared(warm.goal, warm.contract)
    gc.collect()
    tracemalloc.start()
    try:
        for number, fields in enumerate(bodies):
            # As from the wire: nothing of it is shared with what was there before.
            task = declared(number, json.loads(json.dumps(fields)))
            written = history.tasks.open(callers[number], task, INSPECTOR.declared(task.goal, task.contract))
            line = max(line, len(msgspec.json.encode(written)))
            del task, written
        gc.collect()
        memory = tracemalloc.get_traced_memory()[0] / COUNT
    finally:
        tracemalloc.stop()
    counted = max(kept.size for kept in history.tasks.all())
    FIGURES.info("%s: %d bytes of memory, counted %d, %d of the journal", shape, memory, counted, line)

    assert memory <= counted + BESIDE
    assert counted <= 250_000
    assert line <= 40_000


def test_a_caller_declares_no_more_than_its_share():
    settings = HistorySettings(declarations_per_caller=100_000)
    random, history, ada = Random(1), build_history(settings, clock=lambda: 0.0), Principal("a", "i", AuthMethod.JWT)
    tasks = [declared(number, SHAPES["many destinations"](random)) for number in range(100)]
    with pytest.raises(HistoryFull, match="the caller has declarations of") as caught:
        open_all(history, ada, tasks)

    assert 0 < len(history.tasks) < 100_000 / 5_000
    assert sum(kept.size for kept in history.tasks.all()) <= 100_000
    assert "history.declarations_per_caller" in caught.value.remedy
    assert history.tasks.open_implicit(ada, 0.0)
