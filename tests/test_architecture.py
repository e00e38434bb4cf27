"""The folder tree is the way of a call: which part may import which, and which modules are pure.

docs/design/0001-phases-and-their-interfaces.md says why.
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

PHASES = {
    "approvals",
    "authority",
    "binding",
    "catalogue",
    "history",
    "identity",
    "inspection",
    "journal",
    "policy",
    "tasks",
    "upstream",
}
VOCABULARY = {
    "background", "code_flow", "config", "credentials", "destinations", "errors", "file_access", "free_memory", "http", "https_client", "json",
    "key_files", "keys", "line_socket", "loop_turns", "model", "native", "oauth_client", "processes", "protocol", "reasons",
    "signing_keys", "steady_clock", "store", "strict_yaml", "subkeys", "text_cache", "words", "worker_thread",
}  # fmt: skip
"""What every part may import."""
CONDUCTORS = {"app", "composition", "console", "explain", "pages", "pipeline", "replay", "response"}
"""What may import phases, beside the commands."""

PURE = (
    *(
        f"gateway.credentials.{path.stem}"
        for path in sorted((ROOT / "gateway/credentials").glob("[a-z]*.py"))
        if path.stem not in {"codes", "encoded_text", "known_spots", "ruleset", "surroundings"}
    ),
    "gateway.config.secret_texts",
    *(f"gateway.reasons.{name}" for name in ("authority", "brokers", "callers", "console", "failures")),
    *(f"gateway.reasons.{name}" for name in ("policy_codes", "requests", "text")),
    "gateway.catalogue.definitions",
    "gateway.catalogue.fold",
    "gateway.model.added_headers",
    "gateway.model.call",
    "gateway.model.caller",
    "gateway.model.content",
    "gateway.model.decision",
    "gateway.model.facts",
    "gateway.model.signal",
    "gateway.model.lease",
    "gateway.model.target",
    "gateway.model.shingles",
    "gateway.model.task",
    "gateway.model.wire",
    "gateway.authority.active",
    "gateway.authority.introspection",
    "gateway.authority.minting",
    "gateway.authority.connections.browsers",
    "gateway.authority.connections.events",
    "gateway.authority.connections.grants",
    "gateway.authority.connections.links",
    "gateway.authority.connections.model",
    "gateway.authority.events",
    "gateway.authority.lifetime",
    "gateway.authority.narrowing",
    "gateway.authority.register",
    "gateway.authority.signals.caep",
    "gateway.authority.signals.register",
    "gateway.authority.signals.set",
    "gateway.authority.signals.subjects",
    "gateway.authority.signals.watch",
    "gateway.authority.state",
    "gateway.steady_clock",
    "gateway.authority.brokers.assertions",
    "gateway.authority.brokers.token_checks",
    "gateway.authority.model",
    "gateway.approvals.channels.notice",
    "gateway.code_flow",
    "gateway.approvals.admission",
    "gateway.approvals.digest",
    "gateway.approvals.endorsement",
    "gateway.approvals.events",
    "gateway.approvals.index",
    "gateway.approvals.lines",
    "gateway.approvals.model",
    "gateway.approvals.rendering",
    "gateway.approvals.suggestions",
    "gateway.approvals.rules",
    "gateway.approvals.state",
    "gateway.config.problems",
    "gateway.journal.columns",
    "gateway.errors",
    "gateway.binding.sessions",
    "gateway.http.address",
    "gateway.http.response_parser",
    "gateway.http.request_parser",
    "gateway.history.carried",
    "gateway.history.codec",
    "gateway.history.events",
    "gateway.history.exposure",
    "gateway.history.facts",
    "gateway.history.fold",
    "gateway.history.new_events",
    "gateway.history.origins",
    "gateway.history.reach",
    "gateway.history.state",
    "gateway.history.provenance",
    "gateway.identity.claims",
    "gateway.identity.challenge",
    "gateway.identity.delegation",
    "gateway.identity.id_token",
    "gateway.identity.metadata",
    "gateway.inspection.authority",
    "gateway.inspection.role_values",
    "gateway.inspection.sightings",
    "gateway.words.declared_effects",
    "gateway.destinations.find",
    "gateway.words.grounds",
    "gateway.destinations.hosts",
    "gateway.inspection.inspector",
    "gateway.inspection.label_cases",
    "gateway.destinations.normalise",
    "gateway.response.server_messages",
    "gateway.inspection.results",
    "gateway.words.letters",
    "gateway.words.words",
    "gateway.journal.chain",
    "gateway.journal.entry",
    "gateway.journal.pruning_mark",
    "gateway.journal.refusal_sampler",
    "gateway.journal.redaction",
    "gateway.pages.openapi",
    "gateway.policy.annotations",
    "gateway.policy.bundle_age",
    "gateway.policy.document",
    "gateway.policy.entrypoint",
    "gateway.policy.findings",
    "gateway.policy.opa_contents",
    "gateway.policy.overlay_rules",
    "gateway.policy.plan.arrangement",
    "gateway.policy.plan.blocks",
    "gateway.policy.plan.collection_functions",
    "gateway.policy.plan.format_functions",
    "gateway.policy.plan.functions",
    "gateway.policy.plan.generator",
    "gateway.policy.plan.input_use",
    "gateway.policy.plan.intermediate",
    "gateway.policy.plan.network_functions",
    "gateway.policy.plan.numbers",
    "gateway.policy.plan.paths",
    "gateway.policy.plan.program",
    "gateway.policy.plan.regex_functions",
    "gateway.policy.plan.text_functions",
    "gateway.policy.plan.time_functions",
    "gateway.policy.plan.trees",
    "gateway.policy.plan.usage",
    "gateway.policy.plan.values",
    "gateway.policy.shadowing",
    "gateway.policy.verdict",
    "gateway.json.canonical",
    "gateway.protocol.classify",
    "gateway.protocol.error_codes",
    "gateway.protocol.headers",
    "gateway.protocol.issuers",
    "gateway.protocol.listing",
    "gateway.protocol.methods",
    "gateway.protocol.replies",
    "gateway.json.pointer",
    "gateway.json.edit",
    "gateway.json.lex",
    "gateway.json.walk",
    "gateway.protocol.sse",
    "gateway.json.strict",
    "gateway.replay.secrets",
    "gateway.replay.trace",
    "gateway.strict_yaml",
    "gateway.subkeys",
    "gateway.tasks.contract",
    "gateway.tasks.selection",
    "gateway.tasks.tokens",
    "gateway.text_cache",
    "gateway.catalogue.labels",
    "gateway.catalogue.pins",
    "gateway.upstream.stdio.isolation.bubblewrap",
    "gateway.upstream.stdio.isolation.system_calls",
    "gateway.upstream.stdio.rendering",
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
    "history/reach.py": "what a task has touched; its state bounds how much that is",
    "identity/identities.py": "addresses of connections",
    "inspection/label_cases.py": "expressions of the operator's labels",
    "inspection/code_requests.py": "names of at most `text_cache.SHORT` characters",
    "credentials/named.py": "names of at most `text_cache.SHORT` characters",
    "credentials/ruleset.py": "matches of expressions that end after so many characters",
    "words/grounds.py": "goals and destinations of tasks; the declaration bounds both",
    "words/own_words.py": "names of callers and of own domains; tokens and the configuration bound them",
    "words/words.py": "keys",
    "journal/chain.py": "keys",
    "journal/records.py": "keys",
    "protocol/listing.py": "the latest 16 answers of at most 256 KiB",
    "policy/plan/code_cache.py": "the gateway's own code and the shipped plan, once",
    "policy/plan/regex_functions.py": "expressions of a policy, of at most 4,096 characters",
    "json/strict.py": "names of the protocol",
    "text_cache.py": "short texts",
    "http/limits.py": "addresses, and agents with their issuers",
    "http/edge.py": "64 heads, each of at most 64 KiB",
    "upstream/http.py": "nothing",
    "upstream/stdio/isolation/machine.py": "nothing",
}
"""What uses a cache of `functools`, and what its keys are. How long these may be must be known."""


NATIVE = {("gateway.words.words", "distinctive"), ("gateway.words.words", "digests")}
"""The functions that `gateway.native.bind` replaces."""


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
def parts() -> dict[str, set[str]]:
    """Part of the package (first name below `gateway`) → the parts that it imports."""
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        found.setdefault(part, set()).update(imports(path))
    return found


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "gateway":
                names.update(alias.name for alias in node.names)
            elif node.module.startswith("gateway."):
                names.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            names.update(alias.name.split(".")[1] for alias in node.names if alias.name.startswith("gateway."))
    return names


def test_the_design_note_has_a_row_for_each_phase():
    note = (ROOT / "docs/design/0001-phases-and-their-interfaces.md").read_text("utf-8")

    assert set(re.findall(r"^\| `(\w+)` \|", note, re.MULTILINE)) == PHASES


@pytest.mark.parametrize("phase", sorted(PHASES))
def test_a_phase_imports_no_other_phase(phase: str):
    assert parts()[phase] & (PHASES - {phase}) == set()


@pytest.mark.parametrize("word", sorted(VOCABULARY))
def test_the_vocabulary_imports_only_itself(word: str):
    assert parts()[word] <= VOCABULARY


def test_only_the_conductors_and_the_commands_import_phases():
    importing = {part for part, imported in parts().items() if imported & PHASES}

    assert importing - PHASES <= CONDUCTORS | {"cli", "demo"}


def test_only_the_composition_root_imports_the_pages():
    assert {part for part, imported in parts().items() if "pages" in imported} - {"pages"} == {"app"}


def test_only_the_composition_root_imports_the_console():
    assert {part for part, imported in parts().items() if "console" in imported} - {"console"} == {"app"}


def test_the_console_imports_neither_the_way_of_a_call_nor_the_commands():
    assert parts()["console"] & {"app", "cli", "demo", "pages", "response"} == set()
    assert not any(
        "gateway.pipeline.pipeline" in path.read_text("utf-8") for path in (PACKAGE / "console").rglob("*.py")
    )


@pytest.mark.parametrize("part", ["pipeline", "response"])
def test_a_stage_takes_parts_and_never_the_whole_gateway(part: str):
    assert parts()[part] & {"app", "composition"} == set()
    assert not any(re.search(r"\bGateway\b", path.read_text("utf-8")) for path in (PACKAGE / part).rglob("*.py"))


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
    assert importers("anyio") == {"background.py", "demo/processes.py"}


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
    assert {Path(module).parts[0] for module in importers("starlette")} == {"console", "pages", "demo"}


def test_templates_have_one_user():
    assert {Path(module).parts[0] for module in importers("jinja2") | importers("markupsafe")} == {"console"}


def test_nothing_that_serves_calls_imports_the_commands_or_the_demo():
    serving = {part: imported for part, imported in parts().items() if part not in {"cli", "demo", "__main__"}}

    assert {part for part, imported in serving.items() if imported & {"cli", "demo"}} == set()


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
from gateway.protocol.classify import classify
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

    assert knowing == {"json/pointer.py"}
