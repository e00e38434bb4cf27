"""Build the native core with cargo, and install it into the virtual environment of the Python that runs this. `make core`.

`core/crates.toml` pins each crate with its checksum. It is the lock file of cargo without the place that crates come from:
cargo adds the place, so a mirror that cargo is configured with works too. cargo refuses a crate with another checksum.

    build_core.py               build and install
    build_core.py --uninstall   remove the core; the gateway then runs on Python alone
    build_core.py --pin         pin the crates again, after a change of core/Cargo.toml
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Final

CORE: Final = Path(__file__).resolve().parent.parent / "core"
PINS: Final = CORE / "crates.toml"
LOCK: Final = CORE / "Cargo.lock"
NAME: Final = "opagate_core"
_SOURCE: Final = re.compile(r'^source = "([^"]+)"\n', re.MULTILINE)
_CHECKSUM: Final = re.compile(r"^(?=checksum = )", re.MULTILINE)
_HEADING: Final = re.compile(r"\A(?:#.*\n)*")
_PINS_HEADING: Final = "# The crates of the native core, pinned. `python tools/build_core.py --pin` writes this file.\n"


class BuildFailed(Exception):
    """A core that could not be built: the event and its remedy."""


def strip_sources(lock: str) -> str:
    """Return a lock file without the place of its crates. Raises `BuildFailed` for crates of several places."""
    places = set(_SOURCE.findall(lock))
    if len(places) > 1:
        raise BuildFailed("core/Cargo.toml names crates of several registries; name crates of one only")
    return _PINS_HEADING + _HEADING.sub("", _SOURCE.sub("", lock)).lstrip("\n")


def add_source(pins: str, place: str) -> str:
    """Return the lock file of pinned crates that come from `place`."""
    return _CHECKSUM.sub(lambda _match: f'source = "{place}"\n', pins)


def main(arguments: list[str]) -> int:
    """Do what the argument says. Return the exit status."""
    action = _ACTIONS.get(" ".join(arguments))
    if action is None:
        print("give no argument, --uninstall or --pin", file=sys.stderr)
        return 1
    try:
        action()
    except BuildFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    return 0


def _build_and_install() -> None:
    _install(_build())


def _build() -> Path:
    """Return the built library."""
    cargo = _cargo()
    _write_lock(cargo)
    done = _run(cargo, "build", "--release", "--locked", "--quiet", cwd=CORE)
    if done.returncode != 0:
        raise BuildFailed(
            f"cargo could not build the core from the crates that core/crates.toml pins:\n{done.stdout.strip()}\n"
            "Where core/Cargo.toml has changed, run `python tools/build_core.py --pin` first."
        )
    folder = Path(os.environ.get("CARGO_TARGET_DIR") or CORE / "target") / "release"
    return folder / (f"lib{NAME}.dylib" if sys.platform == "darwin" else f"lib{NAME}.so")


def _write_lock(cargo: str) -> None:
    """Write cargo's lock file from the pinned crates, unless it has these already."""
    pins = PINS.read_text("utf-8")
    if LOCK.exists() and strip_sources(LOCK.read_text("utf-8")) == pins:
        return
    LOCK.write_text(add_source(pins, _place(cargo)), "utf-8")


def _place(cargo: str) -> str:
    """Return cargo's name for the registry of crates. cargo writes it into each lock file that it makes."""
    with tempfile.TemporaryDirectory() as folder:
        _copy_manifest(Path(folder))
        done = _run(cargo, "generate-lockfile", "--quiet", cwd=Path(folder))
        if done.returncode != 0:
            raise BuildFailed(f"cargo could not reach its registry of crates:\n{done.stdout.strip()}")
        places = set(_SOURCE.findall((Path(folder) / "Cargo.lock").read_text("utf-8")))
    if len(places) != 1:
        raise BuildFailed("core/Cargo.toml names crates of several registries; name crates of one only")
    return places.pop()


def _copy_manifest(folder: Path) -> None:
    shutil.copyfile(CORE / "Cargo.toml", folder / "Cargo.toml")
    (folder / "src").mkdir()
    (folder / "src/lib.rs").touch()


def _pin() -> None:
    """Pin the crates of `core/Cargo.toml`, and keep each earlier pin that still fits."""
    cargo = _cargo()
    if PINS.exists():
        _write_lock(cargo)
    done = _run(cargo, "metadata", "--format-version=1", "--quiet", cwd=CORE)
    if done.returncode != 0:
        raise BuildFailed(f"cargo found no crates for core/Cargo.toml:\n{done.stdout.strip()}")
    PINS.write_text(strip_sources(LOCK.read_text("utf-8")), "utf-8")
    print(f"pinned the crates in {PINS}")


def _cargo() -> str:
    home = Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo") / "bin"
    cargo = shutil.which("cargo") or shutil.which("cargo", path=str(home))
    if cargo is None:
        raise BuildFailed("there is no cargo here; install Rust 1.89 or newer, and run `make core` again")
    return cargo


def _run(cargo: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYO3_PYTHON": sys.executable, "PYO3_BUILD_EXTENSION_MODULE": "1"}
    if sys.platform == "darwin":
        # The names of Python are found in the process that loads the library.
        environment["RUSTFLAGS"] = "-C link-arg=-undefined -C link-arg=dynamic_lookup"
    return subprocess.run(
        [cargo, *arguments],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if arguments[0] != "metadata" else subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def _installed() -> Path:
    """Return the place of the core in the environment."""
    if sys.prefix == sys.base_prefix:
        raise BuildFailed("this Python is not of a virtual environment; run `make core`, or the environment's Python")
    return Path(sysconfig.get_path("platlib")) / f"{NAME}.abi3.so"


def _install(library: Path) -> None:
    place = _installed()
    # A running gateway has the library mapped: it is replaced, never written into.
    unfinished = place.with_name(f".{place.name}.part")
    shutil.copyfile(library, unfinished)
    unfinished.replace(place)
    print(f"installed the native core as {place}")


def _uninstall() -> None:
    place = _installed()
    place.unlink(missing_ok=True)
    print(f"removed {place}; the gateway runs on Python alone")


_ACTIONS: Final = {"": _build_and_install, "--uninstall": _uninstall, "--pin": _pin}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
