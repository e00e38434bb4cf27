"""`opagate credentials keys` at a running gateway, at one that has ended, and before the first start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from gateway.surfaces.cli.root import app
from tests.gateway_process import running_gateway

CONFIG = (
    "identity: [{kind: development}]\npolicy: {}\nupstreams: {}\n"
    f"operators: {{accounts: [{{uid: {os.getuid()}, id: olga}}]}}\n"
)


def keys(folder: Path, *words: str) -> Any:
    """Return the answer of the command, in a process of its own: nothing else is on its standard output."""
    command = [
        sys.executable,
        "-m",
        "gateway",
        "credentials",
        "keys",
        *words,
        "--config",
        str(folder / "gateway.yaml"),
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def uses(folder: Path, key: str) -> list[tuple[str, bool]]:
    return [(each["id"], each["is_newest"]) for each in keys(folder, "list") if each["key"] == key]


def test_the_list_before_the_first_start_says_when_keys_are_made(tmp_path: Path):
    (tmp_path / "gateway.yaml").write_text(CONFIG, "utf-8")

    told = CliRunner().invoke(app, ["credentials", "keys", "list", "--config", str(tmp_path / "gateway.yaml")])

    assert told.output == "no keys yet: a gateway makes its keys at its first start\n"
    assert keys(tmp_path, "list") == []


def test_a_key_is_replaced_beside_a_running_gateway_and_after_its_end(tmp_path: Path):
    with running_gateway(CONFIG, tmp_path):
        ((first, _),) = uses(tmp_path, "sealing")
        while_running = keys(tmp_path, "rotate", "sealing")
        assert uses(tmp_path, "sealing") == [(while_running["ids"]["sealing"], True), (first, False)]
        Path(while_running["kept"]).unlink()
        assert keys(tmp_path, "reload")["ids"]["sealing"] == while_running["ids"]["sealing"]
    after = keys(tmp_path, "rotate", "sealing")

    assert uses(tmp_path, "sealing") == [(after["ids"]["sealing"], True), (while_running["ids"]["sealing"], False)]
    with running_gateway(CONFIG, tmp_path):
        assert uses(tmp_path, "sealing")[0] == (after["ids"]["sealing"], True)
