"""A gateway as Kubernetes runs it: keys that the kubelet mounts, and a volume of `fsGroup` for its state."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest
from joserfc.jwk import ECKey

from tests import forked_gateway
from tests.e2e.conftest import policy
from tests.e2e.faults import config
from tests.e2e.wire import Caller
from tests.gateway_process import running_gateway
from tests.machine import skip_or_fail
from tests.requirements import requirement
from tests.servers.serving import ServerProcess

GROUP = 42_420
"""A group that no account of this machine is in, as that of `fsGroup` is."""
KEYS = ("chain", "sessions", "fingerprints", "tokens")
GIVEN = "keys: {chain: keys/chain, sessions: keys/sessions, fingerprints: keys/fingerprints, tokens: keys/tokens}\n"


def mounted(folder: Path) -> None:
    """Lay a secret out as the kubelet does: links of root in a sticky folder, files for the group."""
    if os.geteuid() != 0:
        skip_or_fail("files of other groups; run the tests as root")
    version = folder / "..2026_11_28_10_00_00.1"
    version.mkdir(parents=True)
    (folder / "..data").symlink_to(version.name)
    for name in KEYS:
        pem = ECKey.generate_key("P-256").as_pem(private=True)
        (version / name).write_bytes(pem if name == "tokens" else secrets.token_bytes(32))
        (version / name).chmod(0o440)
        (folder / name).symlink_to(f"..data/{name}")
    for path in (folder, version, *version.iterdir()):
        os.chown(path, 0, GROUP)
    version.chmod(0o2755)
    folder.chmod(0o3777)


@requirement("operations/mounted-keys", "operations/keys")
def test_a_gateway_starts_and_starts_again_with_mounted_keys_and_a_volume_of_its_group(
    echo_server: ServerProcess, tmp_path: Path
):
    """The kubelet gives all of a volume to the group, and lets it write, each time that it mounts the volume."""
    mounted(tmp_path / "keys")
    state = tmp_path / "state"
    state.mkdir()
    setup = config(echo_server, policy(tmp_path)) + GIVEN
    for turn in ("first", "second"):
        for path in (state, *state.rglob("*")):
            os.chown(path, -1, GROUP)
            path.chmod(0o2775 if path.is_dir() else 0o660)
        with running_gateway(setup, tmp_path) as gateway:
            assert Caller(gateway).call("echo", text=turn).text == turn
        assert not {path.name for path in state.iterdir()} & {"journal-key", "sessions-key", "gateway-key.pem"}


@requirement("operations/mounted-keys")
@pytest.mark.parametrize(
    ("path", "mode", "problem"),
    [
        ("keys/..2026_11_28_10_00_00.1/chain", 0o444, "others may use"),
        ("keys", 0o777, "others may write to"),
        ("state/journal", 0o777, "others may write to"),
    ],
)
def test_what_others_can_reach_keeps_it_from_starting_and_check_says_so(
    echo_server: ServerProcess, tmp_path: Path, path: str, mode: int, problem: str
):
    mounted(tmp_path / "keys")
    (tmp_path / "state/journal").mkdir(parents=True)
    (tmp_path / path).chmod(mode)
    (tmp_path / "gateway.yaml").write_text(config(echo_server, policy(tmp_path)) + GIVEN, "utf-8")
    for command, status in (("up", 2), ("check", 1)):
        done = forked_gateway.run([command, "--config", "gateway.yaml"], tmp_path, os.environ)
        assert done.returncode == status
        assert problem in " ".join((done.stdout + done.stderr).split())
        assert "Traceback" not in done.stderr
