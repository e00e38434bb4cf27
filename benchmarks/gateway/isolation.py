"""The cost of a stdio server's sandbox: the time from the start to the answer to `initialize`, with and without it, by turns.

Wall time, on all cores. The least of the starts counts, since other programs only ever add to it. It takes some ten seconds.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from gateway.config import Upstream
from gateway.config.own_files import OwnFiles
from gateway.upstreams.stdio.isolation.launch import Launch, Launcher

MOST_MILLISECONDS: Final = 60.0
"""More for a start in a sandbox than for one without."""
STARTS: Final = 40
SERVER: Final = (sys.executable, "-I", "-S", str(Path(__file__).with_name("stdio_echo.py")))
INITIALIZE: Final = b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}\n'
CALL: Final = b'{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"arguments":{"text":"x"}}}\n'
CALLS: Final = 200


def isolation(folder: Path) -> bool:
    """Measure and print. Return whether a start is within the goal."""
    accepted = {"kind": "none", "accepted_by": "a benchmark", "until": "2999-01-01"}
    kinds = {"without": _launcher(folder, accepted), "sandbox": _launcher(folder, "sandbox")}
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in kinds}
    for _ in range(STARTS):
        for name, launcher in kinds.items():
            found[name].append(_measure(launcher))
    least = {name: _print(name, times) for name, times in found.items()}
    return least["sandbox"] - least["without"] <= MOST_MILLISECONDS


def _launcher(folder: Path, kind: Any) -> Launcher:
    upstream = Upstream.model_validate({"command": SERVER, "audience": "echo", "isolation": kind})
    return Launcher("echo", upstream, OwnFiles(), folder)


def _measure(launcher: Launcher) -> tuple[float, float, float]:
    """Return the milliseconds of the preparation, of the start, and of one call of many."""
    began = time.perf_counter()
    launch = launcher.prepare({name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ})
    prepared = time.perf_counter()
    with _started(launch) as process:
        _ask(process, INITIALIZE)
        answered = time.perf_counter()
        for _ in range(CALLS):
            _ask(process, CALL)
        ended = time.perf_counter()
        assert process.stdin is not None
        process.stdin.close()
    return 1e3 * (prepared - began), 1e3 * (answered - prepared), 1e3 * (ended - answered) / CALLS


def _started(launch: Launch) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen(launch.command, env=dict(launch.env), cwd=launch.cwd, stdin=pipe, stdout=pipe)


def _ask(process: subprocess.Popen[bytes], message: bytes) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(message)
    process.stdin.flush()
    process.stdout.readline()


def _print(name: str, times: list[tuple[float, float, float]]) -> float:
    """Print the figures of a kind. Return the least time of a whole start."""
    columns = list(zip(*times, strict=True))
    for what, column in zip(("preparation", "start", "one call"), columns, strict=True):
        print(f"{name}: {what} {min(column):.2f} ms least, {statistics.median(column):.2f} ms median")
    return min(columns[0]) + min(columns[1])
