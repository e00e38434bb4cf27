"""Paths and types in a real OPA: right rules pass it, and a mistake that OPA finds the gateway finds too."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.policy.conftest import ROOT
from tests.policy.variants import (
    AROUND,
    DATA,
    FUNCTIONS_RIGHT,
    MINE,
    OPA_IS_SILENT,
    PACKAGE,
    RIGHT,
    RIGHT_TOO,
    WRONG,
    denial,
)

pytestmark = pytest.mark.opa


def opas_verdict(text: str, folder: Path, opa: Path) -> list[str]:
    for name, content in ((MINE, text), *AROUND.items(), ("data.json", json.dumps(DATA))):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    command = [opa, "check", "--bundle", "--schema", ROOT / "rego/schemas/input.json", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).splitlines()


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_rule_passes_in_opa(name: str, tmp_path: Path, opa_path: Path):
    assert opas_verdict(denial(RIGHT[name]), tmp_path, opa_path) == []


@pytest.mark.parametrize("body", RIGHT_TOO)
def test_one_more_right_rule_passes_in_opa(body: str, tmp_path: Path, opa_path: Path):
    assert opas_verdict(denial(body), tmp_path, opa_path) == []


@pytest.mark.parametrize("name", WRONG)
def test_opa_finds_the_same_mistakes(name: str, tmp_path: Path, opa_path: Path):
    found = opas_verdict(denial(WRONG[name][0]), tmp_path, opa_path)

    assert bool(found) is (name not in OPA_IS_SILENT), found


@pytest.mark.parametrize("name", FUNCTIONS_RIGHT)
def test_a_right_module_passes_in_opa(name: str, tmp_path: Path, opa_path: Path):
    assert opas_verdict(f"{PACKAGE}{FUNCTIONS_RIGHT[name]}\n", tmp_path, opa_path) == []
