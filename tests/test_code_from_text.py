"""No text becomes code: each place that compiles, runs or imports something by a value is in a table here, with its reason."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = tuple(path for part in ("gateway", "opagate", "tools", "benchmarks") for path in (ROOT / part).rglob("*.py"))

CALLS = {"exec", "eval", "compile", "__import__", "FunctionType", "CodeType"}
"""Functions that make code, by their bare names."""
METHODS = {
    *("import_module", "run_path", "run_module", "exec_module", "create_subprocess_shell", "system", "popen"),
    *("literal_eval", "parse", "from_string", "unsafe_load", "full_load", "load_module"),
}
"""Methods and functions of modules that make code, start a shell, or read a text as a template."""
MODULES = {"code", "codeop", "dill", "imp", "marshal", "pickle", "runpy", "shelve", "cloudpickle", "joblib"}
"""Modules that read code, or objects with code."""
OWNERS = {"literal_eval": "ast", "parse": "ast", "popen": "os", "system": "os"}
"""Methods that count for one module alone."""

ALLOWED = {
    "benchmarks/unfamiliar/record_bfcl.py: import_module": "a fixed list of modules of a published data set",
    "benchmarks/unfamiliar/record_bfcl.py: literal_eval": "constants of a published data set",
    "benchmarks/unfamiliar/record_bfcl.py: parse": "a call of a published data set, whose tree is read",
    "gateway/authority/approvals/channels/webhooks.py: import_module": "a fixed name, imported late",
    "gateway/surfaces/cli/start.py: import_module": "names of this package",
    "gateway/inspection/words/native.py: import_module": "a fixed name",
    "gateway/policy/plan/compile_process.py: compile": "a syntax tree of the generator",
    "gateway/policy/plan/compile_process.py: marshal": "writes the code",
    "gateway/policy/plan/generator.py: parse": "a constant of the module",
    "gateway/policy/plan/loading.py: marshal": "reads the code of a process that this one started, or of a cache with a MAC",
    "gateway/policy/plan/program.py: exec": "runs that code",
    "gateway/policy/plan/trees.py: parse": "templates that the type checker proves to be literals",
    "gateway/policy/trials/trial_process.py: marshal": "reads the code of the gateway that started it",
    "tools/reference.py: parse": "reads the source of a struct, for the text below its fields",
    "tools/prose.py: parse": "reads the repository's own files, and runs none of them",
    "tools/seed_faults.py: parse": "reads the repository's own files, and runs none of them",
}  # fmt: skip


def _calls(node: ast.Call) -> Iterator[str]:
    function = node.func
    if isinstance(function, ast.Name) and function.id in CALLS | METHODS - OWNERS.keys():
        yield function.id
    if isinstance(function, ast.Attribute) and function.attr in METHODS:
        owner = function.value.id if isinstance(function.value, ast.Name) else ""
        if OWNERS.get(function.attr, owner) == owner:
            yield function.attr
    for keyword in node.keywords:
        if keyword.arg == "shell" and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False):
            yield "shell"


def _found(tree: ast.AST) -> Iterator[str]:
    """Yield the names in a module by which text can become code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from _calls(node)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            yield str(node.module)


def test_every_place_where_text_could_become_code_is_known():
    places = {
        f"{path.relative_to(ROOT)}: {name}" for path in SOURCES for name in _found(ast.parse(path.read_text("utf-8")))
    }

    assert places == set(ALLOWED)


@pytest.mark.parametrize(
    "source",
    [
        "eval(x)",
        "compile(x, 'f', 'exec')",
        "__import__(x)",
        "importlib.import_module(x)",
        "import pickle",
        "from marshal import loads",
        "subprocess.run(x, shell=True)",
        "subprocess.run(x, shell=flag)",
        "asyncio.create_subprocess_shell(x)",
        "os.system(x)",
        "environment.from_string(x)",
        "yaml.unsafe_load(x)",
        "ast.parse(x)",
        "FunctionType(x, {})",
    ],
)
def test_a_new_place_would_be_found(source: str):
    assert [*_found(ast.parse(source))] != []


def test_no_template_of_the_console_turns_the_escape_off():
    for path in (ROOT / "gateway/surfaces/console/templates").rglob("*"):
        text = path.read_text("utf-8")
        assert "|safe" not in text.replace(" ", ""), path
        assert "autoescape" not in text, path


def test_a_template_of_a_tree_is_a_literal():
    """The type checker proves it for all callers; here the modules that call `quote` are looked at once more."""
    for path in (ROOT / "gateway/policy/plan").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "quote":
                template = node.args[0]
                is_literal = isinstance(template, ast.Constant) and isinstance(template.value, str)
                assert is_literal or (isinstance(template, ast.Name) and template.id in {"comparison", "fast"}), path
