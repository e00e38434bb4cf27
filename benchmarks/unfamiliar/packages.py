"""BFCL's and tau2's packages and their recordings."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Final

from benchmarks.corpora.installed import FOLDER, Environment, Recording

BFCL: Final = Environment(
    "bfcl",
    ("bfcl-eval==2026.3.23 --hash=sha256:3bb6dfa5f0c68ad403c9ec50b00db2bb3b4cc9b38ab1ff33f48fe30d853d3a0a",),
    ("mpmath==1.3.0",),
)
TAU2: Final = Environment(
    "tau2",
    ("inspect-evals==0.26.0 --hash=sha256:b76d15813182807da141a0f06bb6f18a5f82d1f06291ec2633bb84cdf661f8d0",),
    ("inspect-ai==0.3.285", "toml==0.10.2", "pyyaml==6.0.4"),
)
COMMIT: Final = "a2c024725189473d2d7cea3a5cfdbcc67478e41f"
"""Of sierra-research/tau2-bench. Its tasks are those of the package, many of them corrected since."""
DOMAINS: Final = ("retail", "airline", "banking_knowledge")


def bfcl() -> list[Recording]:
    return BFCL.record(Path(__file__).with_name("record_bfcl.py"))


def tau2(repository: Path | None) -> list[Recording]:
    """Return the recordings of all domains, with the package's own tasks or with the tasks of a clone of tau2-bench."""
    script = Path(__file__).with_name("record_tau2.py")
    if repository is None:
        return TAU2.record(script)
    tasks = {domain: _committed(repository, domain) for domain in DOMAINS}
    folder = FOLDER / "tau2-tasks" / COMMIT
    folder.mkdir(parents=True, exist_ok=True)
    for domain, content in tasks.items():
        (folder / f"{domain}.json").write_bytes(content)
    return TAU2.record(script, str(folder), depends=hashlib.sha256(b"".join(tasks.values())).hexdigest())


def _committed(repository: Path, domain: str) -> bytes:
    """Return the tasks of a domain at `COMMIT`, by whose name Git checks the content."""
    name = f"{COMMIT}:data/tau2/domains/{domain}/tasks.json"
    shown = subprocess.run(["git", "-C", str(repository), "show", name], check=False, stdout=subprocess.PIPE)
    if shown.returncode:
        sys.exit(f"{repository} has no {name}; clone sierra-research/tau2-bench, and fetch this commit")
    return shown.stdout
