"""The image and compose.yaml agree with the tree, with each other and with the configuration that they mount."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway import config
from gateway.config import OpaEngine
from tests.gateway_process import running_gateway

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
DEPLOYED = config.load(ROOT / "deploy/gateway.yaml")


def copied() -> list[str]:
    """What the build takes from the tree; not what a later stage takes from an earlier one."""
    lines = re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
    return [source.rstrip("/") for line in lines for source in line.split()[:-1]]


def let_through(path: str) -> bool:
    """The last pattern of .dockerignore that a path, or a folder that it is in, matches decides."""
    names = [path, *(str(parent) for parent in Path(path).parents if str(parent) != ".")]
    outcome = True
    for line in (ROOT / ".dockerignore").read_text("utf-8").split():
        pattern = line.removeprefix("!")
        if any(fnmatch(name, pattern) or fnmatch(f"/{name}", pattern) for name in names):
            outcome = line.startswith("!")
    return outcome


@pytest.mark.parametrize("source", copied())
def test_what_the_image_is_built_of_exists_and_is_let_through(source: str):
    assert (ROOT / source).exists()
    assert let_through(source)


@pytest.mark.parametrize("path", [".git/config", "state/journal-key", "tests/conftest.py", "gateway/__pycache__/x.pyc"])
def test_nothing_else_is_let_through(path: str):
    assert not let_through(path)


def test_the_image_has_all_that_its_build_step_needs():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    match = re.search(r"^\$\(VENV\)/\.run: (.+?) \|", makefile, re.MULTILINE)
    project = re.findall(
        r'^(?:readme|license-files) = .*?"([^"]+)"', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE
    )

    assert match
    for needed in (*match[1].split(), *project):
        assert {needed, needed.partition("/")[0]} & set(copied()), needed


def test_the_image_is_built_by_the_step_that_make_run_begins_with():
    makefile = (ROOT / "Makefile").read_text("utf-8")

    assert re.search(r"^run: \$\(VENV\)/\.run ", makefile, re.MULTILINE)
    assert "VENV   := .venv\n" in makefile
    assert re.findall(r"^RUN (?!apt-get|useradd)(.+)$", DOCKERFILE, re.MULTILINE) == ["make .venv/.run"]


def test_the_image_runs_as_nobody_in_particular():
    users = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)

    assert len(users) == 1
    assert "0" not in users[0]


def test_the_health_check_of_the_image_tells_a_gateway_that_lives_from_one_that_does_not(tmp_path: Path):
    match = re.search(r"^HEALTHCHECK .*\\\n +CMD (\[.+\])$", DOCKERFILE, re.MULTILINE)
    assert match
    with running_gateway("identity: [{kind: anonymous}]\n", tmp_path) as gateway:
        _, *arguments = json.loads(match[1].replace("127.0.0.1:8080", gateway.origin.removeprefix("http://")))
        alive = subprocess.run([sys.executable, *arguments], capture_output=True, timeout=30, check=False)
    dead = subprocess.run([sys.executable, *arguments], capture_output=True, timeout=30, check=False)

    assert (alive.returncode, alive.stderr) == (0, b"")
    assert dead.returncode == 1


def test_the_gateway_serves_the_configuration_that_is_mounted():
    command = re.search(r'^CMD \["serve", "--config", "(.+)"\]$', DOCKERFILE, re.MULTILINE)
    mounts = COMPOSE["services"]["gateway"]["volumes"]

    assert command
    assert f"./deploy/gateway.yaml:{command[1]}:ro" in mounts


def test_all_that_the_gateway_writes_is_on_a_volume():
    written = (DEPLOYED.state, DEPLOYED.journal.path, DEPLOYED.catalogue.lock)

    assert "state:/state" in COMPOSE["services"]["gateway"]["volumes"]
    assert [path for path in written if not path.is_relative_to("/state")] == []


def test_opa_and_the_gateway_meet_at_one_socket_as_one_user():
    opa, engine = COMPOSE["services"]["opa"], DEPLOYED.policy.engine
    user = re.search(r"^USER (.+)$", DOCKERFILE, re.MULTILINE)

    assert isinstance(engine, OpaEngine)
    assert f"--addr={engine.url}" in opa["command"]
    assert user
    assert opa["user"] == user[1]
    assert "opa:/run/opa" in opa["volumes"]
    assert "opa:/run/opa" in COMPOSE["services"]["gateway"]["volumes"]


@pytest.mark.parametrize("name", sorted(DEPLOYED.upstreams))
def test_each_upstream_is_a_service_on_its_port(name: str):
    service = COMPOSE["services"][name]

    assert service["entrypoint"] == ["python", "-m", f"gateway.demo.{name}"]
    assert DEPLOYED.upstreams[name].url == f"http://127.0.0.1:{service['command'][1]}/mcp"
    assert name in COMPOSE["services"]["gateway"]["depends_on"]


@pytest.mark.parametrize("name", sorted(COMPOSE["services"]))
def test_no_service_can_write_to_its_image_or_gain_privileges(name: str):
    service = COMPOSE["services"][name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_the_opa_of_compose_is_the_one_that_the_tests_use():
    version = re.search(r"open-policy-agent/opa v([0-9.]+)", (ROOT / "tools/opa/go.mod").read_text("utf-8"))

    assert version
    assert COMPOSE["services"]["opa"]["image"] == f"openpolicyagent/opa:{version[1]}-static"
