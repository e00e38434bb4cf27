"""`tools/install.py`: what is missing is named, and is an error only in CI."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "tools" / "install.py"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, with an empty target and neither Go, npm nor Java on the machine."""
    monkeypatch.setenv("OPAGATE_TOOLS", str(tmp_path / "tools"))
    monkeypatch.delenv("CI", raising=False)
    spec = importlib.util.spec_from_file_location("opagate_tools_install", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    monkeypatch.setattr("shutil.which", _nothing)
    return module


def _nothing(*_arguments: object, **_options: object) -> None:
    """`shutil.which` where no program is installed."""


def test_what_cannot_be_installed_is_named_and_forgiven(
    install: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert install.main() == 0
    said = capsys.readouterr().err
    assert "NOT INSTALLED: opa: there is no Go here" in said
    assert "NOT INSTALLED: regal: there is no Go here" in said
    assert "NOT INSTALLED: gosdk: there is no Go here" in said
    assert "NOT INSTALLED: node: there is no npm here" in said
    assert "NOT INSTALLED: keycloak: there is no Java here" in said


def test_in_ci_a_missing_tool_is_a_failure(install: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    assert install.main() == 1


def test_a_step_is_installed_only_while_its_pins_are_unchanged(install: ModuleType, tmp_path: Path) -> None:
    pin, product, runs = tmp_path / "pin", tmp_path / "tools" / "thing", list[int]()
    pin.write_text("1", "utf-8")
    product.parent.mkdir()

    def build() -> None:
        runs.append(1)
        product.write_text("built", "utf-8")

    step = install.Step("thing", (pin,), product, build, "no time")
    for content, built in (("1", 1), ("1", 1), ("2", 2)):
        pin.write_text(content, "utf-8")
        assert install._bring(step) is None
        assert len(runs) == built
    product.unlink()
    assert not step.is_installed()


def test_a_step_that_failed_is_not_taken_for_installed(install: ModuleType, tmp_path: Path) -> None:
    product = tmp_path / "tools" / "thing"
    product.parent.mkdir()
    product.write_text("an older build", "utf-8")

    def fail() -> None:
        install._run([sys.executable, "-c", "import sys; print('boom'); sys.exit(3)"], cwd=tmp_path, environment={})

    step = install.Step("thing", (SCRIPT,), product, fail, "no time")
    message = install._bring(step)
    assert "ended with status 3" in message
    assert "boom" in message
    assert not step.is_installed()
