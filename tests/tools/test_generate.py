from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
RULE = """package gateway.denials.tiny

# METADATA
# title: Not allowed
# custom:
#   code: tiny/no
#   message: It is | not allowed.
#   remedy: Ask.
#   controls: [ASI02, MCP01]
denials contains {"code": "tiny/no"} if true
"""
PATHS = [
    "rego/schemas/input.json",
    "rego/schemas/decision/result.json",
    "rego/gateway/reasons/data.json",
    "docs/reference/reasons.md",
    "gateway/model/reasons/names.py",
    "docs/reference/openapi.json",
    "docs/reference/schemas/config.json",
    "docs/reference/schemas/facts.json",
    "docs/reference/schemas/grants.json",
    "docs/reference/schemas/labels.json",
    "deploy/systemd/opagate.service",
    "docs/reference/cli.md",
    "docs/reference/configuration.md",
    "docs/reference/declared-facts.md",
    "docs/reference/facts.md",
]


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "tools/generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "rego").mkdir()
    (tmp_path / "rego/tiny.rego").write_text(RULE, encoding="utf-8")
    return tmp_path


def _run(generate: ModuleType, repository: Path, *arguments: str) -> tuple[int, list[str]]:
    told: list[str] = []
    return generate.main(list(arguments), repository, told.append), told


def test_it_writes_what_is_missing_and_then_nothing(generate: ModuleType, repository: Path):
    assert _run(generate, repository) == (0, [f"wrote {path}" for path in PATHS])
    assert _run(generate, repository) == (0, [])
    assert _run(generate, repository, "--check") == (0, [])


def test_the_reasons_are_those_of_the_rules(generate: ModuleType, repository: Path):
    _run(generate, repository)

    assert json.loads((repository / PATHS[2]).read_text(encoding="utf-8")) == {
        "tiny/no": {
            "title": "Not allowed",
            "message": "It is | not allowed.",
            "remedy": "Ask.",
            "controls": ["ASI02", "MCP01"],
            "family": "tiny",
        }
    }
    page = (repository / PATHS[3]).read_text(encoding="utf-8")
    assert "| `tiny/no` | It is \\| not allowed. | Ask. | ASI02, MCP01 |" in page
    assert "| `policy/late` |" in page


@pytest.mark.parametrize("path", PATHS)
def test_a_file_that_differs_is_named_and_left(generate: ModuleType, repository: Path, path: str):
    _run(generate, repository)
    (repository / path).write_text("other", encoding="utf-8")

    status, told = _run(generate, repository, "--check")

    assert status == 1
    assert [line.partition(" ")[0] for line in told] == [path]
    assert (repository / path).read_text(encoding="utf-8") == "other"


def test_a_wrong_annotation_is_told_by_file_and_line(generate: ModuleType, repository: Path):
    (repository / "rego/tiny.rego").write_text(RULE.replace("remedy", "remedi"), encoding="utf-8")

    status, (line,) = _run(generate, repository)

    assert status == 2
    assert line.startswith("tiny.rego:3: ")
    assert not (repository / PATHS[0]).exists()


def test_every_command_and_every_setting_has_a_meaning(generate: ModuleType, repository: Path):
    _run(generate, repository)

    commands = (repository / "docs/reference/cli.md").read_text(encoding="utf-8")
    settings = (repository / "docs/reference/configuration.md").read_text(encoding="utf-8")
    sections = commands.split("\n## ")[1:]
    assert {"opagate up", "opagate journal tail", "opagate catalogue pin"} < {part.split("\n")[0] for part in sections}
    assert all("Example: `opagate " in part for part in sections)
    assert "| `request_bytes` | size | `4MiB` | A larger request is refused with 413. |" in settings
    assert "| `value` | secret | required |" in settings
    assert not [line for page in (commands, settings) for line in page.splitlines() if line.endswith("|  |  |  |")]
    assert not [line for line in settings.splitlines() if line.startswith("| `") and line.endswith("|  |")]
