"""`tools/prose.py`: texts that people read follow the rules of CONTRIBUTING.md, "Language"."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "tools" / "prose.py"


@pytest.fixture
def prose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, looking at an empty project."""
    spec = importlib.util.spec_from_file_location("opagate_tools_prose", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "KNOWN", tmp_path / "known.txt")
    return module


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("gateway/a.py", 'def f():\n    """Whether it is one of those."""\n', "begins with 'Whether'"),
        ("gateway/a.py", 'def f():\n    """Return the one that it is of those that it has."""\n', "pronouns"),
        ("gateway/a.py", f'X = Reason("a/b", "{"word " * 30}", "Ask.")\n', "a sentence of 30 words"),
        ("gateway/a.py", f'raise PolicyBroken(f"{{name}} {"word " * 30}", "mend it")\n', "a sentence of 31 words"),
        ("gateway/a.py", f'log.error("a.b", problem="{"word " * 30}")\n', "a sentence of 30 words"),
        ("gateway/a.py", f'A = typer.Option("--a", help="{"Word " * 30}")\n', "a sentence of 30 words"),
        ("gateway/a.py", f'_STALE: Final = "{"word " * 30}", "mend it"\n', "a sentence of 30 words"),
        ("rego/a.rego", f"# METADATA\n# custom:\n#   message: {'word ' * 30}\n#   remedy: ask\n", "30 words"),
        ("docs/a.md", f"# A\n\nShort. {'Word ' * 30}\n", "a sentence of 30 words"),
        ("docs/a.md", "- Nobody knows the key.\n", "begins with 'Nobody'"),
    ],
)
def test_a_text_that_breaks_a_rule_is_named_with_its_place(
    prose: ModuleType, tmp_path: Path, name: str, text: str, told: str
):
    write(tmp_path, name, text)

    assert [item.file for item in prose.texts() if told in "; ".join(prose.problems(item))] == [name]
    assert prose.main([]) == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("gateway/a.py", 'def f():\n    """Return the number of open calls."""\n'),
        ("docs/a.md", f"# A\n\n```\n{'word ' * 40}\n```\n\n| {'word ' * 40} |\n"),
        ("docs/reference/a.md", f"{'Word ' * 40}\n"),
    ],
)
def test_plain_sentences_code_tables_and_generated_pages_pass(prose: ModuleType, tmp_path: Path, name: str, text: str):
    write(tmp_path, name, text)

    assert prose.main([]) == 0


def test_a_known_text_passes_until_somebody_changes_it(prose: ModuleType, tmp_path: Path):
    write(tmp_path, "gateway/a.py", 'def f():\n    """Whether it is open."""\n')
    prose.main(["--update", "--grow"])
    assert prose.main([]) == 0

    write(tmp_path, "gateway/a.py", 'def f():\n    """Whether it is shut."""\n')
    assert prose.main([]) == 1


def test_the_list_of_known_texts_shrinks_and_does_not_grow(prose: ModuleType, tmp_path: Path):
    write(tmp_path, "gateway/a.py", 'def f():\n    """Whether it is open."""\n')
    prose.main(["--update", "--grow"])

    write(tmp_path, "gateway/a.py", 'def f():\n    """Whether it is shut."""\n')
    prose.main(["--update"])

    assert prose.KNOWN.read_text("utf-8") == ""
