"""The most that declared tasks cost: callers declare the largest that they may until nobody with a task has room."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random
from typing import Final
from urllib.parse import urlsplit

from benchmarks.gateway import targets
from gateway.identity import development

GOAL: Final = 8_000
"""Characters."""
SAMPLE: Final = 20
"""Declarations between two looks at the memory."""
CREATED: Final = 201


def numbers(random: Random) -> str:
    """Return a goal of numbers: each is kept as a digest, which takes far more memory than the number."""
    return " ".join(str(random.randrange(10**6, 10**7)) for _ in range(GOAL // 8))


def words(random: Random) -> str:
    """Return a goal of short words, which is kept as text."""
    return " ".join("".join(random.choices("abcdefghij", k=3)) for _ in range(GOAL // 4))


SHAPES: Final[Mapping[str, Callable[[Random], str]]] = {"numbers": numbers, "words": words}


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of all declarations of a shape. Sizes in MiB."""

    shape: str
    callers: int
    tasks: int
    sent: float
    before: float
    after: float
    journal: float
    newcomer: bool
    """Whether a caller without tasks still has room."""

    def row(self) -> str:
        """Return the cost as a row of the table of memory."""
        room = "has" if self.newcomer else "has no"
        callers = f"{self.callers} caller{'' if self.callers == 1 else 's'}"
        return (
            f"| {self.tasks:,} declared tasks of {callers}, goals of {self.shape}, {self.sent:.0f} MiB sent;"
            f" a newcomer {room} room | {self.before:.0f} | {self.after:.0f} | {self.journal:.0f} |"
        )


def declarations(folder: Path, upstream: str, *, quick: bool, most: int = 100) -> list[Cost]:
    """Measure each shape with a gateway of its own; in a quick run with so many tasks at most."""
    return [_declare(folder / shape, upstream, shape, most if quick else 100_000) for shape in SHAPES]


def _declare(folder: Path, upstream: str, shape: str, most: int) -> Cost:
    random = Random(1)
    with ExitStack() as stack:
        target = stack.enter_context(targets.opagate(folder, upstream, engine="embedded"))
        client = stack.enter_context(closing(_Client(folder, target.request.url)))
        before, sent, tasks, callers = target.resident_mib(), 0, 0, 0
        peak = before
        while tasks < most:
            token, own = client.token(), 0
            while tasks + own < most:
                body = json.dumps({"goal": SHAPES[shape](random), "expires_in": 86_400}).encode()
                if client.declare(token, body) != CREATED:
                    break
                own, sent = own + 1, sent + len(body)
                peak = max(peak, target.resident_mib()) if own % SAMPLE == 0 else peak
            tasks, callers = tasks + own, callers + 1
            # The rest of the room is for callers without tasks: a second one is refused there.
            if own <= 1:
                break
        newcomer = client.declare(client.token(), b"{}") == CREATED
        journal = sum(file.stat().st_size for file in (folder / "state/journal").iterdir())
        peak = max(peak, target.resident_mib())
        return Cost(shape, callers, tasks, sent / 2**20, before, peak, journal / 2**20, newcomer)


class _Client:
    """A connection, and tokens for agents that nobody has seen before."""

    def __init__(self, folder: Path, url: str) -> None:
        parts = urlsplit(url)
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._connection = http.client.HTTPConnection(parts.netloc, timeout=30)
        self._key = development.load_key(folder / "state")
        self._numbers = count()

    def token(self) -> str:
        """Return a token of an agent of its own."""
        agent = f"declaring-{next(self._numbers)}"
        return development.issue(self._key, agent=agent, audience=f"{self._origin}/mcp", ttl=7_200, clock=time.time)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def declare(self, token: str, body: bytes) -> int:
        """Declare a task. Return the HTTP status."""
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        self._connection.request("POST", "/tasks", body, headers)
        answer = self._connection.getresponse()
        answer.read()
        return answer.status
