"""Make the stored state of a release: its own gateway lends, holds and stops calls, and is killed.

`RELEASE` is the tree of the release. Its gateway and its test servers are run:

    PYTHONPATH=RELEASE python tests/stored/make.py TARGET.tar.gz
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Final

import httpx2

from tests.e2e.wire import caller
from tests.gateway_process import running_gateway
from tests.servers.serving import running

_UPSTREAM: Final = """
  {name}:
    url: {url}
    audience: https://{name}.example
    environment: test
    credential: {{kind: gateway, bind: {name}, scopes: {{read: ["echo:read"]}}}}
    tools: {{"*": {{effect: read, egress: false, sensitivity: internal}}, big: {{effect: write}}}}
"""
_CONFIGURATION: Final = """
identity: [{kind: development}]
approvals: {hold: 200ms}
policy: {grants: grants.yaml, engine: {kind: embedded, deadline: 20s}}
upstreams:"""
_GRANTS: Final = """
upstreams:
  call: [{id: a, agents: ["*"], issuers: ["*"], tools: [echo], approval: true}]
  task: [{id: b, agents: ["*"], issuers: ["*"], tools: ["*"]}]
"""
_LEFT_OUT: Final = ("lock", "control.sock", "-shm", "compiled-policy", "tried-policy")
"""Names of what ends with the process, and of caches."""


def main(target: Path) -> None:
    """Pack the state that a gateway leaves."""
    with tempfile.TemporaryDirectory() as made:
        leave(Path(made))
        with tarfile.open(target, "w:gz") as archive:
            archive.add(Path(made) / "state", "state", filter=_without_owner)


def _without_owner(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if member.name.endswith(_LEFT_OUT) or not (member.isfile() or member.isdir()):
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def leave(folder: Path) -> None:
    """Leave the state of a killed gateway in a folder: open leases, a held call, a stop and a declared task."""
    (folder / "grants.yaml").write_text(_GRANTS, "utf-8")
    with running("tests.servers.echo", folder / "echo.log") as echo:
        url = f"{echo.origin}/mcp"
        upstreams = "".join(_UPSTREAM.format(name=name, url=url) for name in ("call", "task"))
        configuration = _CONFIGURATION + upstreams
        try:
            with running_gateway(configuration, folder, by_command=True) as gateway:
                agent = caller(gateway, "reader", "task", user="ann")
                opened = httpx2.post(f"{gateway.origin}/tasks", headers=agent.headers, json={"goal": "read the mail"})
                opened.raise_for_status()
                assert agent.call("echo", text="one").status == 200
                assert caller(gateway, "reader", "call", user="ann").call("echo", text="two").codes
                stop = ["stop", "--agent", "triage", "--reason", "it mails strangers", "--config", "gateway.yaml"]
                subprocess.run([sys.executable, "-m", "gateway", *stop], cwd=folder, check=True)
                gateway.process.kill()
        except AssertionError as ended:
            # The way of the tests expects a gateway that is stopped, and this one was killed.
            if "ended early" not in str(ended):
                raise
    for name, text in (("gateway.yaml", configuration), ("grants.yaml", _GRANTS)):
        (folder / "state" / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
