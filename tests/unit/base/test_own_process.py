"""The protection of the gateway's process: what other programs of its account read of it, and what its children inherit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from gateway import config
from gateway.config.secret_texts import secret_variables
from tests.machine import needs_proc

ROOT: Final = Path(__file__).resolve().parents[3]
SECRET: Final = "s3cr3t-of-an-upstream"
NOBODY: Final = 65534

HIDDEN: Final = """
import sys
sys.path.insert(0, sys.argv[1])
from gateway.base import own_process
if sys.argv[2] == "hide":
    own_process.hide_memory()
print("ready", flush=True)
sys.stdin.read()
"""
READ: Final = """
import os, sys
pid = sys.argv[1]
for name, read in {
    "environ": lambda: open(f"/proc/{pid}/environ", "rb").read(),
    "mem": lambda: open(f"/proc/{pid}/mem", "rb"),
    "maps": lambda: open(f"/proc/{pid}/maps", "rb").read(),
    "fd": lambda: [os.readlink(f"/proc/{pid}/fd/{one}") for one in os.listdir(f"/proc/{pid}/fd")],
    "cwd": lambda: os.readlink(f"/proc/{pid}/cwd"),
}.items():
    try:
        read()
        print(name)
    except PermissionError:
        pass
"""
EVERYTHING: Final = {"environ", "mem", "maps", "fd", "cwd"}


def as_another(*words: str) -> list[str]:
    """Return a command that runs as an account without rights over other programs."""
    if os.getuid() != 0:
        return list(words)
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=-all", *words]


@needs_proc
@pytest.mark.parametrize("mode", ["hide", "show"])
def test_other_programs_of_the_account_read_nothing_of_a_hidden_process(mode: str):
    with subprocess.Popen(
        as_another(sys.executable, "-c", HIDDEN, str(ROOT), mode),
        env={"SECRET": SECRET},
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        reader = as_another(sys.executable, "-c", READ, str(process.pid))
        found = subprocess.run(reader, cwd="/", capture_output=True, text=True, check=True).stdout.split()
        limits = Path(f"/proc/{process.pid}/limits").read_text("ascii")
        process.communicate()

    if mode == "hide":
        assert found == []
        assert "Max core file size        0                    0" in limits
    else:
        assert set(found) >= EVERYTHING


@needs_proc
def test_a_forgotten_variable_is_in_no_memory_and_no_child():
    code = (
        "import os, subprocess, sys; from gateway.base import own_process; own_process.forget_variables(['SECRET', 'ABSENT']);"
        "print(os.environ.get('SECRET'), 's3cr3t' in open('/proc/self/environ').read(),"
        "b's3cr3t' in subprocess.run(['env'], capture_output=True).stdout, os.environ['KEPT'])"
    )
    environment = {"SECRET": SECRET, "KEPT": "kept", "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == ["None", "False", "False", "kept"]


def test_each_variable_with_a_secret_of_the_configuration_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    environment = {
        "TOKEN": SECRET,
        "ALIAS": f" {SECRET}\n",
        "URL": f"https://ada:{SECRET}@db.example",
        "PIN": "1234",
        "YEAR": "12345",
        "PATH": f"/bin:{SECRET}",
        "LANG": "C",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    text = """
upstreams:
  files: {command: [serve], audience: files, env: {TOKEN: "${TOKEN}", PIN: "${PIN}"}}
"""
    found = secret_variables(config.parse(text, base=tmp_path), environment)

    assert sorted(found) == ["ALIAS", "PIN", "TOKEN", "URL"]
