"""Packages of npx and uvx servers, locked with real npm and uv at a registry of the test, run in the sandbox."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests import forked_gateway
from tests.interaction.stdio.registries import Registry, running_registry
from tests.machine import skip_or_fail

if TYPE_CHECKING:
    from collections.abc import Generator

COMMANDS = {"npm": ["npx", "-y", "opagate-served"], "pypi": ["uvx", "opagate-served"]}


class Project:
    """A folder with a gateway.yaml, at the registries of a test."""

    def __init__(self, folder: Path, registry: Registry) -> None:
        self.folder = folder
        self.registry = registry
        home = folder / "home"
        home.mkdir()
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "NPM_CONFIG_REGISTRY": f"{registry.address}/npm/",
            "UV_DEFAULT_INDEX": f"{registry.address}/simple/",
            "UV_PYTHON": sys.executable,
            "NO_COLOR": "1",
            "COLUMNS": "400",
        }

    def configure(self, *command: str, **more: Any) -> None:
        upstreams = {"one": {"command": command, "audience": "one", **more}}
        (self.folder / "gateway.yaml").write_text(json.dumps({"upstreams": upstreams}))

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return forked_gateway.run([*words, "--config", "gateway.yaml"], self.folder, self.env, timeout=300)

    def pin(self, *words: str) -> str:
        done = self.run("catalogue", "pin", "--yes", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def says(self) -> str:
        """Return what the server says of itself, or why there is none."""
        done = self.run("catalogue", "show", "--json")
        return done.stdout + done.stderr

    @property
    def lock(self) -> dict[str, Any]:
        return json.loads((self.folder / "catalogue.lock").read_bytes())["upstreams"]["one"]["packages"]

    def forget_installed(self) -> None:
        shutil.rmtree(self.folder / "state/packages")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Project]:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    for program in ("npm", "uv"):
        if shutil.which(program) is None:
            skip_or_fail(f"{program}, which installs locked packages")
    with running_registry(tmp_path / "script-ran") as registry:
        registry.publish_servers("1.0.0", "5.0.0")
        yield Project(tmp_path, registry)


@pytest.mark.parametrize("kind", COMMANDS)
def test_the_locked_version_runs_with_its_locked_dependencies(project: Project, kind: str):
    project.configure(*COMMANDS[kind])
    told = project.pin()
    assert "opagate-served 1.0.0" in told
    assert "needed 5.0.0" in told
    assert project.lock["versions"] == {"opagate-served": "1.0.0"}
    assert project.registry.address not in (project.folder / "catalogue.lock").read_text()

    project.registry.publish_servers("1.1.0", "5.1.0")
    for _ in range(2):
        assert '"pin": "match"' in project.says()
        project.forget_installed()
    assert "opagate-served 1.0.0: 2 packages" in project.run("check").stdout

    assert "opagate-served 1.0.0 → 1.1.0" in project.pin()
    assert '"pin": "match"' in project.says()
    assert not project.registry.script_trace.exists()


@pytest.mark.parametrize("package", ["opagate-served", "needed"])
@pytest.mark.parametrize("kind", COMMANDS)
def test_a_file_with_another_digest_is_never_run(project: Project, kind: str, package: str):
    project.configure(*COMMANDS[kind])
    project.pin()
    project.forget_installed()
    shutil.rmtree(project.folder / "home")
    (project.folder / "home").mkdir()
    # Whoever has the registry publishes other files under the same version.
    project.registry.publish_npm(package, "1.0.0" if package == "opagate-served" else "5.0.0", {"index.js": "evil"})
    project.registry.published.pop(f"/simple/{package}/")
    project.registry.publish_pypi(package, "1.0.0" if package == "opagate-served" else "5.0.0", "evil = 1")

    told = project.says()
    assert "cannot give the packages" in told
    assert list((project.folder / "state/packages").glob("*/.complete")) == []


@pytest.mark.parametrize(
    ("kind", "command"),
    [
        ("npm", ["npx", "-y", "--registry", "http://127.0.0.1:1/", "opagate-served"]),
        ("pypi", ["uvx", "opagate-served==1.1.0"]),
    ],
)
def test_a_command_for_other_packages_than_the_locked_ones_is_refused(project: Project, kind: str, command: list[str]):
    project.configure(*COMMANDS[kind])
    project.pin()
    project.configure(*command)
    told = project.says()
    assert "runs no packages that can be locked" in told or "the lock has 1.0.0" in told
    assert '"tools": []' in told


@pytest.mark.parametrize("kind", COMMANDS)
def test_the_server_cannot_write_what_it_runs(project: Project, kind: str):
    project.configure(*COMMANDS[kind])
    project.pin()
    before = {path: path.stat().st_mtime_ns for path in (project.folder / "state/packages").rglob("*")}
    project.configure(*COMMANDS[kind], network=True)
    project.says()
    assert {path: path.stat().st_mtime_ns for path in (project.folder / "state/packages").rglob("*")} == before
    assert not (project.folder / "state/homes").exists()


def test_packages_are_unlocked_by_a_word(project: Project):
    project.configure(*COMMANDS["npm"])
    project.pin()
    # Without a network, npx has no package to run, and the listing fails.
    assert "unlocked the packages of one" in project.run("catalogue", "pin", "--yes", "--no-packages").stdout
    assert "packages" not in json.loads((project.folder / "catalogue.lock").read_bytes())["upstreams"]["one"]


def test_a_changed_lock_is_refused(project: Project):
    project.configure(*COMMANDS["pypi"])
    project.pin()
    path = project.folder / "catalogue.lock"
    path.write_text(path.read_text().replace("needed==5.0.0", "needed==5.0.1"))
    assert "has a digest that is not the digest of its packages" in project.says()
