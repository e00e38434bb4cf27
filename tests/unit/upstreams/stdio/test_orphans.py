"""The end of a server that leaves an orphan behind, as every sandbox does. The gateway adopts orphans."""

from __future__ import annotations

import subprocess
import sys
from typing import Final

import pytest

from tests.machine import needs_proc
from tests.servers.serving import ROOT

ADOPTS: Final = """
import asyncio, os, sys, time
import uvloop
from gateway.base import own_process
from gateway.upstreams.stdio import child as child_module

ended = []
child_module.SHUTDOWN_STEP = 10_000.0

async def scenario(code, closes):
    child = child_module.ServerProcess("files", secrets=[], clock=time.monotonic, gone=ended.append)
    await child_module.spawn((sys.executable, "-I", "-S", "-c", code), child, env={}, cwd=None)
    said = asyncio.Event()
    child.attach(lambda _message: said.set(), print)
    await said.wait()
    if closes == "asked":
        await child.stop()
    else:
        await child.write(b"{}", 5.0)
        while not ended:
            await asyncio.sleep(0.01)

own_process.adopt_orphans()
{"asyncio": asyncio, "uvloop": uvloop}[sys.argv[1]].run(scenario(sys.argv[3], sys.argv[2]))
try:
    print("left:", os.waitpid(-1, os.WNOHANG))
except ChildProcessError:
    print("nothing is left")
"""
LEAVES_AN_ORPHAN: Final = """
import os, time
own, other = os.pipe()
if os.fork() == 0:
    os.close(other)
    os.read(own, 1)
    {then}
    os._exit(0)
print('{{"jsonrpc":"2.0","method":"ready"}}', flush=True)
os.read(0, 1)
os._exit(3)
"""
"""The child of the server lives until just after the end of the server, as the first process inside a sandbox does."""


@needs_proc
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize(
    ("closes", "then", "reason"),
    [
        ("asked", "pass", "was shut down"),
        ("asked", "time.sleep(0.2)", "was shut down"),
        ("unasked", "pass", "exited with status 3"),
        ("unasked", "time.sleep(60)", "exited with status 3"),
    ],
)
def test_a_gateway_that_adopts_a_dead_orphan_does_not_wait_for_it_and_leaves_it_not_behind(
    loop: str, closes: str, then: str, reason: str
):
    words = [sys.executable, "-c", ADOPTS, loop, closes, LEAVES_AN_ORPHAN.format(then=then)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)

    told = [line for line in done.stdout.splitlines() if "upstream." not in line]
    assert told == [reason, "nothing is left"], done.stderr
