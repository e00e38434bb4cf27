"""Rules of an author, judged by the OPA program before a gateway evaluates their plan.

OPA finds a misspelt field of the input, a rule that does not compile, and a test that fails. Of the plan, this module asks two
things more. No function reads a misspelt field of its argument. The decision reaches each rule that refuses, asks or obliges: a
family that nobody asks would let calls through.
"""

from __future__ import annotations

import json
import re
import tarfile
import tempfile
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, cast

import msgspec

from gateway.model.errors import PolicyBroken
from gateway.policy import contract, facts
from gateway.policy.folder import folders
from gateway.policy.folder.bundle import Bundle, Suite
from gateway.policy.folder.overlay import HIDES, ROOT, SETS
from gateway.policy.opa.program import ProgramOutput, read_version, require_opa, run_program
from gateway.policy.plan import input_use, intermediate, store
from gateway.policy.plan.input_use import InputUse
from gateway.policy.plan.store import StoredPlan
from gateway.policy.verdict import CODE

ENTRIES: Final = ("decision", "visibility", "leases", "explanation")
"""The packages below `gateway` whose rule `result` is a question."""
_PROBLEMS: Final = ("gateway.grants.problems", "gateway.problems")
"""The packages whose rule `found` judges data."""
_FAMILIES: Final = ("gateway", "denials")
_DECISION: Final = "gateway/decision/result"
_PACKAGE: Final = re.compile(r"\A(?:[ \t]*(?:#.*)?\n)*package ([\w.]+)[ \t]*(?:#.*)?$", re.MULTILINE)
"""The package of a module, if it is the first statement and written without quotes."""
_LEFT_OUT: Final = frozenset({"col", "end_col", "end_row"})
"""Parts of places in Rego that nothing here reads, a fifth of a plan."""
_HEADS: Final = """[module |
	some file, text in input
	tree := rego.parse_module(file, text)
	rules := object.get(tree, "rules", [])
	module := {
		"file": file,
		"package": [part.value | some part in array.slice(tree.package.path, 1, 100)],
		"imports": [found | some found in object.get(tree, "imports", [])],
		"heads": [object.union(rule.head, {"default": object.get(rule, "default", false)}) | some rule in rules],
		"negated": [found.terms | some rule in rules; walk(rule, [_, found]); found.negated; is_array(found.terms)],
	}
]"""
"""The question for the heads of all rules, and for the calls that are negated."""
_AUTHOR: Final = "mend the rule; `opagate policy check` tries it again"
_FORM: Final = 'write `denials contains {"code": "family/name", "facts": ["/resource/id"]} if { … }`'


@dataclass(frozen=True, slots=True)
class PolicyTest:
    """One `test_*` rule and its outcome. `place` is its file and line."""

    name: str
    place: str
    passed: bool


@dataclass(frozen=True, slots=True)
class RuleHead:
    """The head of a rule in OPA's reading. `path` is its full path, up to its name."""

    file: str
    path: tuple[str, ...]
    fields: Mapping[str, Any]

    @property
    def name(self) -> str:
        return self.path[-1]

    @property
    def is_partial_set(self) -> bool:
        """Return whether the rule adds members to a set, so that the set always has a value."""
        return "key" in self.fields and "value" not in self.fields and len(self.fields["ref"]) == 1

    def written_field(self, name: str) -> str | None:
        """Return a text that the member of a set has under a name, if both are written out."""
        key = cast("dict[str, Any]", self.fields.get("key") or {})
        for item in key["value"] if key.get("type") == "object" else ():
            if item[0] == {"type": "string", "value": name} and item[1]["type"] == "string":
                return str(item[1]["value"])
        return None


def judge(policy: Bundle, suites: Sequence[Suite], judged: StoredPlan | None = None) -> StoredPlan:
    """Check, compile and test a policy. Return its plan. `judged` is the plan of these rules if they were checked before.

    Raise `PolicyBroken` for the first problem, and without an OPA.
    """
    opa = require_opa("a policy of your own without a compiled form")
    stored = judged or _judge_rules(policy, opa)
    failed = [test for suite in suites for test in run_tests(suite, opa) if not test.passed]
    if failed:
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        raise PolicyBroken(
            f"{failed[0].place}: the test {failed[0].name} fails{more}",
            "mend the rule or the test; `opagate policy test` runs all of them",
        )
    return stored


def _judge_rules(policy: Bundle, opa: Path) -> StoredPlan:
    _require_none(check_rules(policy, opa))
    stored = compile_rules(policy, opa)
    _require_none(find_in_plan(policy, stored, opa))
    return stored


def find_in_plan(policy: Bundle, stored: StoredPlan, opa: Path) -> list[str]:
    """Return the misspelt fields, the undeclared facts, the void guards and the unasked rules of a policy with this plan."""
    plan, read = bytes(stored.plan), read_modules(policy.modules, opa)
    misuses = find_input_use(policy, plan).misuses
    return [*misuses, *find_void_guards(policy.modules, read), *find_unasked(plan, read)]


def find_input_use(policy: Bundle, plan: bytes) -> InputUse:
    """Return the misspelt fields of the input in a plan, also by way of functions, and the read facts."""
    names = facts.read_names(policy.decoded_data())
    return input_use.look_at_input_use(intermediate.read_plan(plan), contract.schemas()["input.json"], names)


def require_known_facts(policy: Bundle, plan: bytes) -> None:
    """Raise `PolicyBroken` for a plan with a misspelt field of the input, or with an undeclared fact."""
    _require_none(find_input_use(policy, plan).misuses)


def _require_none(found: Sequence[str]) -> None:
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise PolicyBroken(f"{found[0]}{more}", _AUTHOR)


# --- check -------------------------------------------------------------------------------------------


def check_rules(policy: Bundle, opa: Path) -> list[str]:
    """Return what `opa check` finds in the rules that decide, with the strict types of the gateway's own input."""
    deciding = tuple((file, text) for file, text in policy.modules if not file.startswith("system/"))
    with written(replace(policy, modules=deciding, tests=())) as folder:
        schema = folder.with_name("input.json")
        schema.write_text(json.dumps(contract.schemas()["input.json"]), "utf-8")
        return check_folder(folder, opa, "--schema", str(schema))


def check_folder(folder: Path, opa: Path, *options: str) -> list[str]:
    """Return the findings of `opa check --strict` in a folder, each with its place."""
    strict = ("--strict", "--bundle", "--format", "json", "--max-errors", "100000")
    done = run_program(opa, "check", *strict, *options, str(folder))
    return [] if done.status == 0 else list(_findings(done, folder))


def _findings(done: ProgramOutput, folder: Path) -> Iterator[str]:
    try:
        errors = cast("list[dict[str, Any]]", json.loads(done.written or done.complaints)["errors"])
    except (json.JSONDecodeError, KeyError, TypeError):
        said = " ".join(done.lines)[:500] or f"opa check ended with status {done.status}"
        errors = [cast("dict[str, Any]", {"message": said})]
    for error in errors:
        message = str(error["message"]).replace(f"{folder}/", "")
        # Annotations name a schema by a name of the folder's own, which is not here.
        if not message.startswith("undefined schema: schema."):
            place = describe_place(error["location"], folder) + ": " if error.get("location") else ""
            yield f"{place}{message}{_known_names(error.get('details'))}"


def _known_names(details: object) -> str:
    """Return the known names beside an unknown name, as OPA lists them."""
    known = cast("dict[str, Any]", details).get("oneOf") if isinstance(details, dict) else None
    return f"; it may be one of {', '.join(map(str, cast('list[object]', known)))}" if known else ""


# --- compile -----------------------------------------------------------------------------------------


def compile_rules(policy: Bundle, opa: Path) -> StoredPlan:
    """Return the plan of the rules of a policy. It does not depend on data. Raise `PolicyBroken`."""
    with written(replace(policy, data="{}", tests=(), roots=("",))) as folder:
        target = folder.with_name("plan.tar.gz")
        points = [part for entry in entries(policy.modules) for part in ("--entrypoint", entry)]
        options = ("--target=plan", "--bundle", ".", "--output", str(target))
        done = run_program(opa, "build", *options, *points, folder=folder)
        if done.status != 0:
            raise PolicyBroken(f"OPA does not compile the policy: {'; '.join(done.lines[:5])}", _AUTHOR)
        with tarfile.open(target) as packed:
            found = packed.extractfile("/plan.json")
            plan: Any = msgspec.json.decode(b"" if found is None else found.read())
    encoded = msgspec.json.encode(_shorten(plan))
    return StoredPlan(store.digest(policy.modules), read_version(opa), msgspec.Raw(encoded))


def entries(modules: Iterable[tuple[str, str]]) -> list[str]:
    """Return the questions that modules answer."""
    packages = {found for _, text in modules for found in re.findall(r"^package\s+([\w.]+)", text, re.MULTILINE)}
    asked = [f"gateway/{entry}/result" for entry in ENTRIES if f"gateway.{entry}" in packages]
    return asked + [f"{package.replace('.', '/')}/found" for package in _PROBLEMS if package in packages]


def _shorten(value: Any) -> Any:
    if isinstance(value, dict):
        parts = cast("dict[str, Any]", value)
        return {name: _shorten(item) for name, item in parts.items() if name not in _LEFT_OUT}
    return [_shorten(item) for item in cast("list[Any]", value)] if isinstance(value, list) else value


# --- families ----------------------------------------------------------------------------------------


def find_unasked(encoded: bytes, modules: Sequence[ReadModule]) -> list[str]:
    """Return each rule of a family that the decision does not ask, or that gives no findings, as a sentence."""
    plan = intermediate.read_plan(encoded)
    names = [entry.name for entry in plan.entries]
    if _DECISION not in names:
        return []
    decided, reached = intermediate.find_reached(plan, [_DECISION]), intermediate.find_reached(plan, names)
    heads = [head for module in modules for head in module.heads]
    found = [*_outside(heads), *(said for head in heads for said in _of_rule(head, decided, reached))]
    return list(dict.fromkeys([*found, *_silent_families(heads, reached)]))


@dataclass(frozen=True, slots=True)
class ReadModule:
    """One module, as OPA reads it. `imports` are full paths by their names; `negated` are the terms of negated calls."""

    file: str
    package: tuple[str, ...]
    imports: Mapping[str, tuple[str, ...]]
    heads: tuple[RuleHead, ...]
    negated: tuple[list[dict[str, Any]], ...]


def read_modules(modules: Iterable[tuple[str, str]], opa: Path) -> list[ReadModule]:
    """Return modules as OPA reads them. Raise `PolicyBroken`."""
    with tempfile.TemporaryDirectory(prefix="opagate-policy-") as name:
        texts = Path(name) / "texts.json"
        texts.write_text(json.dumps(dict(modules)), "utf-8")
        done = run_program(opa, "eval", "--format", "raw", "--strict-builtin-errors", "--input", str(texts), _HEADS)
    if done.status != 0:
        raise PolicyBroken(f"OPA cannot read the rules: {'; '.join(done.lines[:5])}", _AUTHOR)
    return [_read_module(module) for module in cast("list[dict[str, Any]]", json.loads(done.written))]


def _read_module(found: dict[str, Any]) -> ReadModule:
    file, package = str(found["file"]), tuple(map(str, found["package"]))
    heads = [RuleHead(file, (*package, str(fields["ref"][0]["value"])), fields) for fields in found["heads"]]
    imports: dict[str, tuple[str, ...]] = {}
    for each in found["imports"]:
        path = tuple(str(part["value"]) for part in each["path"]["value"])
        imports[each.get("alias") or path[-1]] = path
    return ReadModule(file, package, imports, tuple(heads), tuple(found["negated"]))


# --- negation ----------------------------------------------------------------------------------------


def find_void_guards(modules: Sequence[tuple[str, str]], read: Sequence[ReadModule]) -> list[str]:
    """Return each `not` around a call with an operand that may be missing: then the rule has no value, and guards nothing."""
    texts = dict(modules)
    always = {head.path for module in read for head in module.heads if head.is_partial_set or head.fields["default"]}
    own = {head.path for module in read for head in module.heads if "args" in head.fields}
    found = [
        _describe_guard(module.file, called, texts[module.file])
        for module in read
        for terms in module.negated
        for called, operands in [_hoisted(terms)]
        if any(_may_lack_value(term, module, always, own) for term in operands)
    ]
    return list(dict.fromkeys(found))


def _hoisted(terms: Sequence[dict[str, Any]]) -> tuple[str, list[dict[str, Any]]]:
    """Return the function of a negated call, and the operands that have to have a value. A side of `==` need not."""
    name, *operands = terms
    called = ".".join(str(part["value"]) for part in name["value"])
    is_equality = called in {"eq", "equal"}
    return called, [term for term in operands if not is_equality or term["type"] != "ref"]


def _describe_guard(file: str, called: str, text: str) -> str:
    line = next((number for number, line in enumerate(text.splitlines(), 1) if f"not {called}(" in line), 0)
    place = f"{file}:{line}" if line else file
    return (
        f"{place}: `not` stands around {called}, which has no value where its operand is missing, so it guards nothing;"
        " give what is negated a rule or a function of its own, and negate its name"
    )


def _may_lack_value(
    term: dict[str, Any], module: ReadModule, always: set[tuple[str, ...]], own: set[tuple[str, ...]]
) -> bool:
    """Return whether an operand may be missing: a reference, or a call of a function of the policy. A comprehension never is."""
    match term["type"]:
        case "ref":
            # An input there always is; a name alone is a variable with a value.
            is_whole = len(term["value"]) == 1 and term["value"][0]["value"] not in module.imports
            return not is_whole and _full_path(term["value"], module) not in always
        case "call":
            name, *operands = term["value"]
            is_own = _full_path(name["value"], module) in own
            return is_own or any(_may_lack_value(each, module, always, own) for each in operands)
        case "array" | "set":
            return any(_may_lack_value(each, module, always, own) for each in term["value"])
        case "object":
            return any(_may_lack_value(each, module, always, own) for pair in term["value"] for each in pair)
        case _:
            return False


def _full_path(parts: Sequence[dict[str, Any]], module: ReadModule) -> tuple[str, ...]:
    """Return the path below `data` that a reference names, as far as its parts are written out."""
    names = tuple(str(part["value"]) for part in parts)
    first, *rest = names
    if first == "data":
        return tuple(rest)
    if first in module.imports:
        return (*module.imports[first], *rest)[1:]
    return (*module.package, *names)


def _outside(heads: Iterable[RuleHead]) -> Iterator[str]:
    for head in heads:
        if head.file.startswith(f"{ROOT}/") and head.path[0] != ROOT:
            yield f"{head.file}: {'.'.join(head.path[:-1])} is no package of an overlay"


def _of_rule(head: RuleHead, decided: frozenset[tuple[str, ...]], reached: frozenset[tuple[str, ...]]) -> Iterator[str]:
    is_overlay, is_family = head.path[0] == ROOT, head.path[:2] == _FAMILIES and len(head.path) > len(_FAMILIES) + 1
    full = ".".join(("data", *head.path))
    if is_overlay and head.name == HIDES:
        if "args" not in head.fields:
            yield f"{head.file}: `{full}` is no function; write `{HIDES}(resource) if {{ … }}`"
        elif head.path not in reached:
            yield f"{head.file}: no list asks `{full}`; name its package {ROOT}.<family>, in two parts"
    elif head.name in (SETS if is_overlay else SETS[:2]) and (is_overlay or is_family):
        yield from _of_set(head, full, decided)


def _of_set(head: RuleHead, full: str, decided: frozenset[tuple[str, ...]]) -> Iterator[str]:
    if not head.is_partial_set:
        yield f"{head.file}: `{full}` is no partial set, so it may have no value; {_FORM}"
    elif head.path not in decided:
        where = f"name its package {ROOT}.<family>, in two parts"
        if head.path[0] != ROOT:
            where = f"add `{full},` to `{head.name}` in gateway/decision/decision.rego"
        yield f"{head.file}: the decision never asks `{full}`, so it refuses nothing; {where}"
    elif head.name == "obligations":
        known = head.written_field("id")
        if known is not None and known not in contract.OBLIGATIONS:
            yield f'{head.file}: there is no obligation "{known}"; write one of {", ".join(contract.OBLIGATIONS)}'
    else:
        code = head.written_field("code")
        if code is not None and CODE.fullmatch(code) is None:
            yield f'{head.file}: the code "{code}" of `{full}` is not of the form family/name; {_FORM}'


def _silent_families(heads: Sequence[RuleHead], reached: frozenset[tuple[str, ...]]) -> Iterator[str]:
    """Yield the families below `gateway.denials` of which no question reaches any rule."""
    end = len(_FAMILIES) + 1
    known = {path[:end] for path in reached}
    named = {head.path[:end] for head in heads if head.name in SETS}
    for head in heads:
        family = head.path[:end]
        if head.path[:2] == _FAMILIES and len(head.path) > end and family not in known | named:
            yield f"{head.file}: the family `{family[-1]}` has no rule `denials`, so it refuses nothing; {_FORM}"


# --- tests -------------------------------------------------------------------------------------------


def run_tests(suite: Suite, opa: Path) -> list[PolicyTest]:
    """Run the `test_*` rules of a suite in OPA, on the very data of the gateway. Raise `PolicyBroken`."""
    options = ("--timeout", "60s", "--bundle", "--format", "json", *_only_below(suite))
    with written(suite.policy, with_tests=True) as folder:
        done = run_program(opa, "test", *options, str(folder))
    try:
        results = cast("list[dict[str, Any]]", json.loads(done.written or "null") or [])
    except json.JSONDecodeError:
        results = []
    if not results and done.status not in {0, 2}:
        said = " ".join(done.complaints.replace(f"{folder}/", "").split())[:500]
        raise PolicyBroken(f"opa test failed: {said}", "mend what it names")
    return [
        PolicyTest(
            f"{item['package'].removeprefix('data.')}.{item['name']}",
            describe_place(item["location"], folder),
            passed=not (item.get("fail") or item.get("error")),
        )
        for item in sorted(
            results, key=lambda item: (str(item["location"].get("file")), item["location"].get("row", 0))
        )
        if not item.get("skip") and describe_place(item["location"], folder).startswith(suite.below)
    ]


def _only_below(suite: Suite) -> tuple[str, ...]:
    """Return the options by which OPA runs the tests of the packages below a folder alone, where all are plainly named."""
    files = (*suite.policy.modules, *suite.policy.tests)
    named = [_PACKAGE.search(text) for file, text in files if file.startswith(suite.below)]
    if not suite.below or None in named:
        return ()
    packages = sorted({found[1] for found in named if found is not None})
    return ("--run", rf"^data\.({'|'.join(map(re.escape, packages))})\.")


def describe_place(location: Mapping[str, Any], folder: Path) -> str:
    """Return a place that OPA or Regal names, as file and line in the policy."""
    return f"{str(location.get('file', '')).removeprefix(f'{folder}/')}:{location.get('row', 0)}"


@contextmanager
def written(policy: Bundle, *, with_tests: bool = False) -> Generator[Path]:
    """Give a folder for OPA with the Rego files and the very data of the gateway. Files beside it go with it."""
    with tempfile.TemporaryDirectory(prefix="opagate-policy-") as made:
        folder = Path(made) / "policy"
        folder.mkdir()
        folders.write(policy, folder, with_tests=with_tests)
        yield folder
