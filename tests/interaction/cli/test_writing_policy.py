"""docs/policy/writing-policy.md, followed word by word in an empty folder: each file, each command, and what it prints."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.gateway_process import free_port
from tests.servers.serving import stop

ROOT: Final = Path(__file__).resolve().parents[3]
PAGE: Final = (ROOT / "docs/policy/writing-policy.md").read_text("utf-8")
BLOCK: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE: Final = re.compile(r"`(own/[\w/.]+)`")
_ADDRESS: Final = "127.0.0.1:8080"
_SECONDS: Final = 240


class Walk:
    """A person with the page and a shell."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._address = f"127.0.0.1:{free_port()}"
        self._last = ""
        self._printed = ""
        self.followed: list[str] = []

    def follow(self, language: str, text: str, before: str) -> None:
        """Do what one block of the page says; `before` is the page up to it."""
        self.followed.append(language)
        if language == "rego":
            (self._folder / _FILE.findall(before)[-1]).write_text(text, "utf-8")
        elif language == "text" and text.startswith("policy:\n"):
            self._configure(text)
        elif language == "text":
            self._require(text)
        elif text.strip() == "opagate up":
            self._stack.enter_context(self._serving())
        else:
            self._run(text)

    def _configure(self, section: str) -> None:
        path = self._folder / "gateway.yaml"
        text = path.read_text("utf-8").replace(_ADDRESS, self._address)
        assert text.count("\npolicy:\n") == 1
        path.write_text(text.replace("\npolicy:\n", f"\n{section}"), "utf-8")

    def _run(self, commands: str) -> None:
        self._last = commands.replace(_ADDRESS, self._address)
        done = subprocess.run(
            ["bash", "-c", self._last],
            cwd=self._folder,
            env=_environment(),
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        self._printed = done.stdout
        assert "Traceback" not in done.stdout + done.stderr

    def _require(self, text: str) -> None:
        """Hold the page to what was printed. A question to the gateway is asked again, as a person would, for a while."""
        end = time.monotonic() + _SECONDS
        while missing := list(self._missing(text)):
            assert self._last.startswith("curl"), f"{self._last}\n{missing}\nis not in\n{self._printed}"
            assert time.monotonic() < end, f"{missing}\nis not in\n{self._printed}"
            self._run(self._last)

    def _missing(self, text: str) -> Iterator[str]:
        printed = " ".join(self._printed.replace("\\n", "\n").split())
        for line in text.splitlines():
            if " ".join(line.split()) not in printed:
                yield line

    @contextmanager
    def _serving(self) -> Generator[None]:
        log = self._folder / "gateway.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["bash", "-c", "exec opagate up"],
                cwd=self._folder,
                env=_environment(),
                stdout=output,
                stderr=output,
            )
        try:
            self._await_ready()
            yield
            # The last change of the page mends what the change before has broken.
            self._await_ready()
        finally:
            stop(process)
        assert "Traceback" not in log.read_text("utf-8")

    def _await_ready(self) -> None:
        end = time.monotonic() + _SECONDS
        while subprocess.run(["curl", "-sf", f"http://{self._address}/readyz"], check=False).returncode:
            assert time.monotonic() < end, "the gateway is not ready"


def _environment() -> dict[str, str]:
    """Return an environment in which `opagate` is on the PATH."""
    return os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


@pytest.mark.timeout(900)
def test_the_page_makes_a_tested_rule_that_refuses_a_call(tmp_path: Path):
    with ExitStack() as stack:
        walk = Walk(tmp_path, stack)
        for block in BLOCK.finditer(PAGE):
            walk.follow(block[1], block[2], PAGE[: block.start()])

    assert walk.followed.count("rego") == 2
    assert walk.followed.count("sh") == 8
    assert walk.followed[-1] == "sh"
