"""Install the programs that the tests drive the gateway with into `.tools/`: OPA, Regal, Helm, a client in Go, porcupine, toxiproxy, Node
packages, Keycloak.

Each step is pinned by files in this folder (a Go module with its checksums, an npm lock file, a digest) and is skipped while
they are unchanged. What cannot be installed is named, with its remedy; that is an error only under `CI=true`.
Standard library only: it runs before there is a virtual environment.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

PINS = Path(__file__).resolve().parent
TARGET = Path(os.environ.get("OPAGATE_TOOLS") or PINS.parent / ".tools")
KEYCLOAK = "keycloak-quarkus-dist"
REGAL_VERSION = "-X github.com/open-policy-agent/regal/pkg/version.Version="


class StepFailed(Exception):
    """A tool that could not be installed: what happened and what to do about it."""


@dataclass(frozen=True)
class Step:
    """One tool. `inputs` are the files that pin it; `product` is there when it is installed."""

    name: str
    inputs: tuple[Path, ...]
    product: Path
    install: Callable[[], None]
    duration: str

    def fingerprint(self) -> str:
        digest = hashlib.sha256(Path(__file__).read_bytes())
        for path in self.inputs:
            digest.update(path.read_bytes())
        return digest.hexdigest()

    @property
    def stamp(self) -> Path:
        return TARGET / f".{self.name}.stamp"

    def is_installed(self) -> bool:
        return self.product.exists() and self.stamp.exists() and self.stamp.read_text("utf-8") == self.fingerprint()


def main() -> int:
    """Exit status 0 when everything is there (outside CI: also when a tool could not be installed)."""
    if all(step.is_installed() for step in STEPS):
        return 0
    TARGET.mkdir(parents=True, exist_ok=True)
    with _alone():
        failures = [message for step in STEPS if (message := _bring(step))]
    for message in failures:
        print(f"NOT INSTALLED: {message}", file=sys.stderr)
    if failures and os.environ.get("CI") == "true":
        return 1
    if failures:
        print("The tests that need what is missing will be skipped, by name.", file=sys.stderr)
    return 0


def _bring(step: Step) -> str | None:
    """Install one tool unless it is there. Returns what went wrong."""
    if step.is_installed():
        return None
    print(f"installing {step.name} into {TARGET} ({step.duration})", flush=True)
    started = time.monotonic()
    step.stamp.unlink(missing_ok=True)
    try:
        step.install()
    except StepFailed as failure:
        return f"{step.name}: {failure}"
    step.stamp.write_text(step.fingerprint(), "utf-8")
    print(f"installed {step.name} in {time.monotonic() - started:.0f} s", flush=True)
    return None


@contextmanager
def _alone() -> Generator[None]:
    """Only one installation at a time; a second one waits and then finds nothing to do."""
    with (TARGET / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build_opa() -> None:
    _go_build("opa", "github.com/open-policy-agent/opa")


def _build_regal() -> None:
    package = "github.com/open-policy-agent/regal"
    pinned = next(line for line in (PINS / "regal/go.mod").read_text("utf-8").splitlines() if f"{package} v" in line)
    version = pinned.split(" v", 1)[1].split()[0]
    _go_build("regal", package, "-ldflags", f"{REGAL_VERSION}{version}")


def _build_helm() -> None:
    _go_build("helm", "helm.sh/helm/v3/cmd/helm")


def _build_gosdk() -> None:
    _go_build("gosdk", ".")


def _build_porcupine() -> None:
    _go_build("porcupine", ".")


def _build_toxiproxy() -> None:
    _go_build("toxiproxy", "github.com/Shopify/toxiproxy/v2/cmd/server")


def _go_build(name: str, package: str, *flags: str) -> None:
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if go is None:
        raise StepFailed("there is no Go here; install Go 1.26 or newer and run `make tools` again")
    unfinished = TARGET / f".{name}.part"
    command = [go, "build", "-mod=readonly", "-trimpath", *flags, "-o", str(unfinished), package]
    _run(command, cwd=PINS / name, environment={"CGO_ENABLED": "0"})
    unfinished.replace(TARGET / name)


def _install_node() -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise StepFailed("there is no npm here; install Node with npm and run `make tools` again")
    folder = TARGET / "node"
    folder.mkdir(exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(PINS / "node" / name, folder / name)
    # The node that runs npm may be older than the one that is installed here and runs the packages.
    quiet = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
    _run([npm, "ci", *quiet], cwd=folder, environment={})


def _install_keycloak() -> None:
    """Unpack Keycloak, and build it with a transmitter of signals (SSF) and ID-JAG for a database in memory.

    It then starts in half the time, and leaves no file behind.
    """
    java = shutil.which("java")
    if java is None:
        raise StepFailed("there is no Java here; install Java 17 or newer and run `make tools` again")
    version, digest = (PINS / "keycloak/version").read_text("utf-8").split()
    archive = _fetch(version)
    unfinished = TARGET / ".keycloak.part"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    try:
        found = hashlib.sha256(archive.read_bytes()).hexdigest()
        if found != digest:
            raise StepFailed(
                f"{archive.name} has the SHA-256 {found}, and tools/keycloak/version names another; do not use it"
            )
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(unfinished)
        folder = unfinished / f"keycloak-{version}"
        _run(
            [
                "sh",
                str(folder / "bin/kc.sh"),
                "build",
                "--db=dev-mem",
                "--cache=local",
                "--features=ssf,identity-assertion-jwt",
            ],
            cwd=folder,
            environment={},
        )
        shutil.rmtree(TARGET / "keycloak", ignore_errors=True)
        folder.replace(TARGET / "keycloak")
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _fetch(version: str) -> Path:
    """Return the archive in Maven's folder, and have Maven fetch it first if it is not there."""
    place = Path.home() / ".m2/repository/org/keycloak" / KEYCLOAK / version / f"{KEYCLOAK}-{version}.zip"
    if place.exists():
        return place
    maven = shutil.which("mvn")
    if maven is None:
        raise StepFailed("there is no Maven here; install it with a Java of 17 or newer, and run `make tools` again")
    artifact = f"-Dartifact=org.keycloak:{KEYCLOAK}:{version}:zip"
    _run([maven, "-q", "dependency:get", artifact, "-Dtransitive=false"], cwd=TARGET, environment={})
    return place


def _run(command: list[str], *, cwd: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        last = "\n    ".join(done.stdout.strip().splitlines()[-15:])
        raise StepFailed(f"`{' '.join(command)}` in {cwd} ended with status {done.returncode}:\n    {last}")


STEPS = (
    Step("opa", (PINS / "opa/go.mod", PINS / "opa/go.sum"), TARGET / "opa", _build_opa, "about 75 s"),
    Step("regal", (PINS / "regal/go.mod", PINS / "regal/go.sum"), TARGET / "regal", _build_regal, "about 45 s"),
    Step("helm", (PINS / "helm/go.mod", PINS / "helm/go.sum"), TARGET / "helm", _build_helm, "about 90 s"),
    Step(
        "gosdk",
        tuple(PINS / "gosdk" / name for name in ("go.mod", "go.sum", "main.go")),
        TARGET / "gosdk",
        _build_gosdk,
        "about 30 s",
    ),
    Step(
        "porcupine",
        tuple(PINS / "porcupine" / name for name in ("go.mod", "go.sum", "main.go")),
        TARGET / "porcupine",
        _build_porcupine,
        "about 5 s",
    ),
    Step(
        "toxiproxy",
        (PINS / "toxiproxy/go.mod", PINS / "toxiproxy/go.sum"),
        TARGET / "toxiproxy",
        _build_toxiproxy,
        "about 20 s",
    ),
    Step(
        "node",
        (PINS / "node/package.json", PINS / "node/package-lock.json"),
        TARGET / "node/node_modules/.package-lock.json",
        _install_node,
        "about 30 s",
    ),
    Step(
        "keycloak",
        (PINS / "keycloak/version",),
        TARGET / "keycloak/bin/kc.sh",
        _install_keycloak,
        "177 MB, about 60 s",
    ),
)


if __name__ == "__main__":
    sys.exit(main())
