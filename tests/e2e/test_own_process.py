"""A running gateway: other programs read neither its secrets nor its memory, and no core is left."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.gateway_process import running_gateway
from tests.machine import needs_proc

SECRET: Final = "s3cr3t-of-an-upstream"
CONFIG: Final = """
identity: [{kind: development}]
upstreams:
  files:
    url: http://127.0.0.1:9/
    audience: files
    credential: {kind: header, value: "${TOKEN}"}
"""


@needs_proc
@pytest.mark.parametrize("by_command", [True, False])
def test_a_gateway_leaves_no_secret_in_its_environment_and_no_core(tmp_path: Path, *, by_command: bool):
    environment = {"TOKEN": f"Bearer {SECRET}", "ALIAS": SECRET}
    with running_gateway(CONFIG, tmp_path, environment=environment, by_command=by_command) as gateway:
        folder = Path(f"/proc/{gateway.process.pid}")
        limits = (folder / "limits").read_text("ascii")
        try:
            shown = (folder / "environ").read_bytes()
        except PermissionError:
            # Whoever lacks CAP_SYS_PTRACE is refused.
            shown = b""

    assert SECRET.encode() not in shown
    assert "Max core file size        0                    0" in limits
