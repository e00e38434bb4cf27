"""The folder tree has thirteen rooms on eight floors: which may import which, and which modules are pure.

docs/design/0001-rooms-and-their-interfaces.md says why.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "gateway"

FLOORS = {
    "model": 0,
    "base": 1,
    "config": 2,
    "wire": 3,
    "identity": 4,
    "inspection": 4,
    "policy": 4,
    "authority": 5,
    "history": 5,
    "record": 5,
    "upstreams": 5,
    "calls": 6,
    "surfaces": 7,
}
"""Each room with its floor. A room imports rooms of lower floors alone."""

PURE = (
    *(
        f"gateway.inspection.credentials.{path.stem}"
        for path in sorted((ROOT / "gateway/inspection/credentials").glob("[a-z]*.py"))
        if path.stem not in {"known_spots", "ruleset", "surroundings"}
    ),
    "gateway.config.secret_texts",
    "gateway.model.reasons.policy_codes",
    "gateway.model.reasons.text",
    "gateway.upstreams.catalogue.definitions",
    "gateway.upstreams.catalogue.fold",
    "gateway.upstreams.labelling.argument_roles",
    "gateway.upstreams.labelling.egress",
    "gateway.upstreams.labelling.proposals",
    "gateway.upstreams.labelling.saying",
    "gateway.model.wire",
    "gateway.model.call",
    "gateway.model.caller",
    "gateway.model.content",
    "gateway.model.decision",
    "gateway.model.facts",
    "gateway.model.target",
    "gateway.model.shingles",
    "gateway.model.task",
    "gateway.authority.introspection",
    "gateway.authority.introspection",
    "gateway.authority.minting",
    "gateway.authority.connections.events",
    "gateway.authority.connections.grants",
    "gateway.authority.connections.model",
    "gateway.authority.state",
    "gateway.authority.narrowing",
    "gateway.authority.narrowing",
    "gateway.authority.register",
    "gateway.authority.signals.set",
    "gateway.authority.signals.register",
    "gateway.authority.signals.set",
    "gateway.authority.signals.subjects",
    "gateway.authority.signals.watch",
    "gateway.authority.state",
    "gateway.base.steady_clock",
    "gateway.authority.brokers.assertions",
    "gateway.authority.brokers.token_checks",
    "gateway.authority.model",
    "gateway.authority.approvals.channels.notice",
    "gateway.wire.oauth_flow",
    "gateway.authority.approvals.rules",
    "gateway.authority.approvals.digest",
    "gateway.authority.approvals.endorsement",
    "gateway.authority.approvals.state",
    "gateway.authority.approvals.index",
    "gateway.authority.approvals.lines",
    "gateway.authority.approvals.model",
    "gateway.authority.approvals.rendering",
    "gateway.authority.approvals.suggestions",
    "gateway.authority.approvals.rules",
    "gateway.authority.approvals.state",
    "gateway.config.problems",
    "gateway.record.journal.columns",
    "gateway.model.errors",
    "gateway.calls.binding.ownership",
    "gateway.wire.http.parsers",
    "gateway.history.carried",
    "gateway.history.states",
    "gateway.history.events",
    "gateway.history.exposure",
    "gateway.history.facts",
    "gateway.history.fold",
    "gateway.history.jobs",
    "gateway.history.new_events",
    "gateway.history.reach",
    "gateway.history.state",
    "gateway.history.provenance",
    "gateway.identity.claims",
    "gateway.identity.challenge",
    "gateway.identity.id_token",
    "gateway.inspection.arguments",
    "gateway.inspection.words.declared",
    "gateway.inspection.destinations.find",
    "gateway.inspection.words.grounds",
    "gateway.inspection.destinations.hosts",
    "gateway.inspection.inspector",
    "gateway.inspection.label_cases",
    "gateway.inspection.destinations.normalise",
    "gateway.calls.response.server_messages",
    "gateway.calls.endpoint.messages",
    "gateway.calls.endpoint.names",
    "gateway.inspection.results",
    "gateway.base.letters",
    "gateway.inspection.words.words",
    "gateway.record.journal.chain",
    "gateway.record.journal.entry",
    "gateway.record.journal.verification",
    "gateway.record.journal.refusal_sampler",
    "gateway.record.journal.redaction",
    "gateway.surfaces.pages.openapi",
    "gateway.policy.folder.annotations",
    "gateway.policy.opa.contents",
    "gateway.policy.document",
    "gateway.policy.contract",
    "gateway.policy.verdict",
    "gateway.policy.folder.overlay",
    "gateway.policy.plan.arrangement",
    "gateway.policy.plan.blocks",
    "gateway.policy.plan.collection_functions",
    "gateway.policy.plan.text_functions",
    "gateway.policy.plan.functions",
    "gateway.policy.plan.generator",
    "gateway.policy.plan.input_use",
    "gateway.policy.plan.intermediate",
    "gateway.policy.plan.notation_functions",
    "gateway.policy.plan.numbers",
    "gateway.policy.plan.program",
    "gateway.policy.plan.regex_functions",
    "gateway.policy.plan.trees",
    "gateway.policy.plan.usage",
    "gateway.policy.plan.values",
    "gateway.policy.folder.shadowing",
    "gateway.base.json.canonical",
    "gateway.wire.protocol.classify",
    "gateway.model.error_codes",
    "gateway.wire.protocol.headers",
    "gateway.wire.protocol.listing",
    "gateway.wire.protocol.methods",
    "gateway.wire.protocol.replies",
    "gateway.base.json.walk",
    "gateway.base.json.edit",
    "gateway.base.json.lex",
    "gateway.base.json.walk",
    "gateway.wire.protocol.sse",
    "gateway.base.json.strict",
    "gateway.surfaces.replay.secrets",
    "gateway.surfaces.replay.trace",
    "gateway.base.strict_yaml",
    "gateway.base.keys.key_ring",
    "gateway.history.tasks.contract",
    "gateway.history.tasks.tokens",
    "gateway.base.text_cache",
    "gateway.upstreams.catalogue.labels",
    "gateway.upstreams.catalogue.pins",
    "gateway.upstreams.stdio.isolation.bubblewrap",
    "gateway.upstreams.stdio.isolation.system_calls",
    "gateway.upstreams.stdio.rendering",
)

FORBIDDEN_TO_PURE = {
    "asyncio",
    "socket",
    "subprocess",
    "threading",
    "time",
    "random",
    "secrets",
    "os",
    "aiohttp",
    "httpx2",
}


CACHES = {
    "history/events.py": "systems, tenants and environments of the configuration",
    "history/declared/tables.py": "numbers of at most 30 digits",
    "history/declared/values.py": "sums of such numbers, and times",
    "history/reach.py": "what a task has touched; its state bounds how much that is",
    "identity/identities.py": "addresses of connections",
    "inspection/label_cases.py": "expressions of the operator's labels",
    "inspection/results.py": "names of at most `text_cache.SHORT` characters",
    "inspection/credentials/named.py": "names of at most `text_cache.SHORT` characters",
    "inspection/credentials/ruleset.py": "matches of expressions that end after so many characters",
    "inspection/words/grounds.py": "goals and destinations of tasks; the declaration bounds both",
    "inspection/words/words.py": "keys; names of callers and of own domains, which tokens and the configuration bound",
    "base/store/records.py": "keys",
    "record/journal/chain.py": "keys",
    "record/journal/records.py": "keys",
    "policy/plan/loading.py": "the gateway's own code and the shipped plan, once",
    "policy/plan/regex_functions.py": "expressions of a policy, of at most 4,096 characters",
    "base/json/strict.py": "names of the protocol",
    "base/text_cache.py": "short texts",
    "wire/http/limits.py": "addresses, and agents with their issuers",
    "wire/http/edge.py": "64 heads, each of at most 64 KiB",
    "upstreams/http.py": "nothing",
    "upstreams/stdio/isolation/machine.py": "nothing",
}
"""What uses a cache of `functools`, and what its keys are. How long these may be must be known."""


NATIVE = {("gateway.inspection.words.words", "distinctive"), ("gateway.inspection.words.words", "digests")}
"""The functions that `gateway.inspection.words.native.bind` replaces."""


@cache
def tree(path: Path) -> ast.Module:
    """Return the syntax tree of a file. Most tests here look through all of them."""
    return ast.parse(path.read_text("utf-8"))


@pytest.fixture(scope="module", autouse=True)
def _trees_of_this_module() -> Iterator[None]:  # pyright: ignore[reportUnusedFunction] - pytest uses it
    """Forget the trees after these tests: a worker would keep hundreds of megabytes to its end."""
    yield
    tree.cache_clear()


@cache
def rooms() -> dict[str, set[str]]:
    """Return each room (first name below `gateway`) with the rooms that it imports."""
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        room, *below = path.relative_to(PACKAGE).parts
        if below:
            found.setdefault(room, set()).update(imports(path) - {room})
    return found


def imports(path: Path, *, depth: int = 1) -> set[str]:
    """Return the imported parts of `gateway`, each by its first `depth` names."""
    names: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "gateway":
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names if alias.name.startswith("gateway."))
    return {".".join(name.split(".")[1 : depth + 1]) for name in names}


def parts_of(folder: str, *, depth: int) -> set[str]:
    """Return the parts of `gateway` that the modules of a folder import."""
    return {part for path in (PACKAGE / folder).rglob("*.py") for part in imports(path, depth=depth)}


def test_the_folder_tree_has_the_rooms_and_nothing_beside_them():
    beside = {path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"} - set(FLOORS)

    assert beside - {"_rego"} == {"__init__.py", "__main__.py"}
    assert set(rooms()) == set(FLOORS)


def test_the_design_note_has_a_row_for_each_room():
    note = (ROOT / "docs/design/0001-rooms-and-their-interfaces.md").read_text("utf-8")

    assert dict(re.findall(r"^\| `(\w+)` \| (\d) \|", note, re.MULTILINE)) == {k: str(v) for k, v in FLOORS.items()}


@pytest.mark.parametrize("room", sorted(FLOORS))
def test_a_room_imports_rooms_of_lower_floors_alone(room: str):
    assert {imported for imported in rooms()[room] if FLOORS[imported] >= FLOORS[room]} == set()


def test_only_the_composition_root_imports_the_pages_or_the_console():
    surfaces = {path.name for path in (PACKAGE / "surfaces").iterdir() if path.is_dir()} - {"__pycache__"}
    importing = {name: parts_of(f"surfaces/{name}", depth=2) for name in surfaces}

    for part in ("pages", "console"):
        assert {name for name, found in importing.items() if f"surfaces.{part}" in found} - {part} == {"app"}


def test_the_console_imports_neither_the_way_of_a_call_nor_the_commands():
    found = parts_of("surfaces/console", depth=3)

    assert {".".join(part.split(".")[:2]) for part in found} & {
        *("calls.response", "surfaces.app", "surfaces.cli", "surfaces.demo", "surfaces.pages")
    } == set()
    assert "calls.pipeline.pipeline" not in found


@pytest.mark.parametrize("part", ["pipeline", "response"])
def test_a_stage_takes_parts_and_never_the_whole_gateway(part: str):
    assert "calls.composition" not in parts_of(f"calls/{part}", depth=2)
    assert not any(
        re.search(r"\bGateway\b", path.read_text("utf-8")) for path in (PACKAGE / "calls" / part).rglob("*.py")
    )


def importers(package: str) -> set[str]:
    """Return the modules that import a package of another project."""
    return {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(tree(path))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
        if name.partition(".")[0] == package
    }


def test_anyio_is_for_jobs_beside_calls_and_for_the_demo():
    assert importers("anyio") == {"base/concurrency/background.py", "surfaces/demo/processes.py"}


def test_callers_name_functions_of_the_native_core_by_their_module():
    """A module that imported such a function by its own name would keep the one in Python."""
    kept = {
        f"{path.relative_to(PACKAGE)}: {alias.name}"
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if (node.module, alias.name) in NATIVE
    }

    assert kept == set()


def test_starlette_serves_pages_and_nothing_on_the_way_of_a_call():
    assert {Path(module).parts[:2] for module in importers("starlette")} == {
        ("surfaces", name) for name in ("console", "pages", "demo")
    }


def test_templates_have_one_user():
    found = importers("jinja2") | importers("markupsafe")

    assert {Path(module).parts[:2] for module in found} == {("surfaces", "console")}


def test_nothing_that_serves_calls_imports_the_commands_or_the_demo():
    for name in ("app", "console", "explain", "pages", "replay"):
        assert parts_of(f"surfaces/{name}", depth=2) & {"surfaces.cli", "surfaces.demo"} == set(), name


def reaches_outside(module: str) -> bool:
    nodes = list(ast.walk(tree(ROOT / (module.replace(".", "/") + ".py"))))
    imported = {alias.name.split(".")[0] for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module.split(".")[0] for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    is_opening = any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "open" for node in nodes
    )
    is_awaiting = any(isinstance(node, ast.Await | ast.AsyncFunctionDef) for node in nodes)
    return is_opening or is_awaiting or bool(imported & FORBIDDEN_TO_PURE)


def test_a_pure_module_names_nothing_that_reaches_outside():
    assert [module for module in PURE if reaches_outside(module)] == []


def test_the_pure_modules_work_where_sockets_files_and_clocks_do_not():
    script = f"""
import sys
import importlib
for name in {PURE!r}:
    importlib.import_module(name)
def refuse(event, arguments):
    if event in {{"open", "socket.__new__", "socket.connect", "subprocess.Popen", "os.system"}}:
        raise SystemExit(f"a pure module reached for {{event}} {{arguments[:1]}}")
sys.addaudithook(refuse)
from gateway.wire.protocol.classify import classify
classify(b'{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"x","arguments":{{}}}}}}', {{}})
print("pure")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )

    assert done.stdout.strip() == "pure", done.stderr or done.stdout


def test_no_cache_of_functools_keeps_what_callers_write_however_long_it_is():
    remembering = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ImportFrom)
        and node.module == "functools"
        and {"cache", "lru_cache"} & {alias.name for alias in node.names}
    }

    assert remembering == set(CACHES)


def test_the_verifier_of_upstreams_needs_cryptography_alone():
    """An upstream may copy the file, so it imports neither the gateway nor a package beside `cryptography`."""
    nodes = list(ast.walk(tree(ROOT / "opagate/verify.py")))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "." for node in nodes if isinstance(node, ast.ImportFrom)}

    assert {name.partition(".")[0] for name in names} - sys.stdlib_module_names == {"cryptography"}


SOURCES = tuple(
    path for part in ("gateway", "opagate", "benchmarks", "tests", "tools") for path in (ROOT / part).rglob("*.py")
)
WHOLE = ROOT / "opagate/verify.py"  # a longer file, since an upstream may copy it


def test_no_file_is_longer_than_500_lines():
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in SOURCES if path != WHOLE
    }

    assert {where: lines for where, lines in lengths.items() if lines > 500} == {}


def test_no_function_is_longer_than_60_lines():
    lengths = {
        f"{path.relative_to(ROOT)}: {node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for path in SOURCES
        for node in ast.walk(tree(path) if path.is_relative_to(PACKAGE) else ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }

    assert {where: lines for where, lines in lengths.items() if lines > 60} == {}


def test_one_module_knows_the_escapes_of_json_pointers():
    knowing = {str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py") if '"~1"' in path.read_text("utf-8")}

    assert knowing == {"base/json/walk.py"}
