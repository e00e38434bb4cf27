"""Rego for people who write it: every check of a policy folder, and its tests in the embedded engine and in a real OPA."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from typing import Any, Final, Literal, cast

from gateway.errors import PolicyBroken, PolicyError
from gateway.policy import annotations, bundle, contract, datafile, dialect, fixtures, path_check, shadowing, syntax
from gateway.policy.bundle import Bundle
from gateway.policy.embedded import Embedded, Entrypoint, trees
from gateway.policy.engine import Engine, is_failure, new
from gateway.policy.problems import DATA_FILES, DataFile
from gateway.policy.syntax import Module, Problem

_PROGRAM_SECONDS: Final = 120
STATIC: Final[dict[str, Callable[[tuple[Module, ...], Bundle], list[Problem]]]] = {
    "data beside rules": lambda modules, loaded: shadowing.problems(modules, loaded.sources),
    "both engines agree": lambda modules, _: dialect.problems(modules),
    "paths and types": lambda modules, loaded: path_check.problems(modules, json.loads(loaded.data)),
}
"""The static checks, by their names in `opagate policy check`."""
_COUNT = re.compile(r"^\d+ errors? occurred:\s*")
_TEST = re.compile(r"^(?:todo_)?test_\w+")
_PLACE = re.compile(r"--> (?P<file>.+?):(?P<line>\d+):\d+")
_PROBLEM = re.compile(r"^error: (?P<text>.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Check:
    """One check. `findings` are sentences, empty if it found nothing; `skipped` is why it did not run."""

    name: str
    findings: tuple[str, ...] = ()
    skipped: str | None = None
    seconds: float = 0.0

    @property
    def state(self) -> Literal["ok", "fail", "skipped"]:
        return "skipped" if self.skipped else "fail" if self.findings else "ok"


@dataclass(frozen=True, slots=True)
class Test:
    """One `test_*` rule and what an engine made of it. `detail` is the engine's error."""

    name: str
    passed: bool
    detail: str = ""


# --- checks ------------------------------------------------------------------------------------------


async def checks(folder: Path, grants: Path | None) -> Sequence[Check]:
    """What the gateway itself checks at load, and what OPA and Regal say, if they are here."""
    found = [await _loaded(folder, grants), *_static(folder, grants), _annotated(folder)]
    found += [_readable(file, folder, grants) for file in DATA_FILES]
    found += [
        _opa_check(folder, grants),
        _program("opa fmt", "opa", "fmt", "--list", str(folder), says="is not formatted; run `opa fmt --write`"),
        _program("regal", "regal", "lint", *_regal_config(folder), "--format", "compact", str(folder)),
    ]
    return found


async def _loaded(folder: Path, grants: Path | None) -> Check:
    begun = time.monotonic()
    try:
        engine = Embedded(bundle.read(folder, grants), deadline=60.0, clock=time.monotonic)
        await fixtures.require(_Untimed(engine))
    except PolicyError as error:
        return _check("load and fixtures", [f"{error.message}; {error.remedy}"], begun)
    return _check("load and fixtures", [], begun)


class _Untimed:
    def __init__(self, engine: Embedded) -> None:
        self._engine = engine

    async def evaluate(self, entrypoint: Entrypoint, document: bytes) -> object:
        return self._engine.answer(entrypoint, document)


def _static(folder: Path, grants: Path | None) -> list[Check]:
    """Return every finding of the static checks, of which a load names the first."""
    begun = time.monotonic()
    try:
        loaded = bundle.read(folder, grants)
        modules = _modules(loaded.modules)
    except PolicyError as error:
        return [Check(name, skipped=f"it cannot be loaded: {error.message}") for name in STATIC]
    found: list[Check] = []
    for name, check in STATIC.items():
        findings = [f"{item.message}; {item.remedy}" for item in check(modules, loaded)]
        found.append(_check(name, findings, begun))
        begun = time.monotonic()
    return found


def _modules(texts: Iterable[tuple[str, str]]) -> tuple[Module, ...]:
    """Return the syntax trees of modules. Raise `PolicyBroken`, naming file and line."""
    try:
        return syntax.read(trees(texts))
    except BaseException as error:
        if not is_failure(error):
            raise
        raise PolicyBroken(_explained(error), "mend the rule") from None


def _annotated(folder: Path) -> Check:
    """Whether each code has an annotation and a rule, and the generated table is that of the annotations."""
    begun = time.monotonic()
    try:
        reasons = annotations.table(bundle.sources(folder))
    except PolicyError as error:
        return _check("annotations", [f"{error.message}; {error.remedy}"], begun)
    path = folder / "gateway/reasons/data.json"
    if not path.exists():
        return _check("annotations", [], begun)
    try:
        kept: object = datafile.read(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError, PolicyError) as error:
        return _check("annotations", [f"{path} cannot be read: {error}"], begun)
    stale = [] if kept == reasons else [f"{path} is not what the annotations say; run `make generate`"]
    return _check("annotations", stale, begun)


def _readable(file: DataFile, folder: Path, grants: Path | None) -> Check:
    begun = time.monotonic()
    try:
        return _check(file.name, problems(bundle.read(folder, grants), file), begun)
    except PolicyError as error:
        return Check(file.name, skipped=f"it cannot be loaded: {error.message}")


def problems(loaded: Bundle, file: DataFile) -> list[str]:
    """What the policy says is wrong with a file of its data, each in a sentence. Raises `PolicyBroken`."""
    engine = _engine(loaded, {})
    if file.package not in engine.get_packages():
        return []
    return file.sentences(_evaluated(engine, file.rule))


def _check(name: str, findings: Sequence[str], begun: float) -> Check:
    return Check(name, tuple(findings), None, time.monotonic() - begun)


# --- tests -------------------------------------------------------------------------------------------


def embedded_tests(folder: Path, grants: Path | None) -> list[Test]:
    """Run the `test_*` rules of the `*_test.rego` files in the embedded engine. Raises `PolicyBroken`."""
    texts = _tests(folder)
    loaded = bundle.read(folder, grants)
    # Data in the place of a test, or of a rule that tests share, would make any test pass.
    syntax.require(shadowing.problems(_modules((*loaded.modules, *texts.items())), loaded.sources))
    engine = _engine(loaded, texts)
    return [_tested(engine, name) for name in _test_names(engine.get_ast_as_json())]


def _tests(folder: Path) -> dict[str, str]:
    """Return the texts of the files `*_test.rego`, by their names within the folder."""
    return {
        str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*_test.rego"))
    }


def _tested(engine: Engine, name: str) -> Test:
    answer = _evaluated(engine, f"data.{name}")
    if isinstance(answer, str):
        return Test(name, passed=False, detail="undefined" if answer == "<undefined>" else answer)
    return Test(name, passed=answer is True, detail="" if answer is True else "it is not true")


def _test_names(ast: str) -> Iterator[str]:
    seen: set[str] = set()
    for item in cast("list[Any]", json.loads(ast)):
        if not str(item["source"]["file"]).endswith("_test.rego"):
            continue
        package = re.search(r"^package\s+(\S+)", item["source"]["contents"], re.MULTILINE)
        for line in str(item["source"]["contents"]).splitlines():
            if package and (rule := _TEST.match(line)) and (name := f"{package[1]}.{rule[0]}") not in seen:
                seen.add(name)
                yield name


def opa_tests(folder: Path, grants: Path | None) -> list[Test] | None:
    """Run the same tests in a real OPA, on the same data. Return `None` if there is no OPA. Raise `PolicyBroken`."""
    opa = program("opa")
    if opa is None:
        return None
    with _merged(bundle.read(folder, grants), _tests(folder)) as merged:
        done = _run(opa, "test", "--timeout", "60s", "--bundle", "--format", "json", str(merged))
    try:
        results = cast("list[dict[str, Any]]", json.loads(done.stdout or "null") or [])
    except json.JSONDecodeError:
        results = []
    if not results and done.returncode not in {0, 2}:
        raise PolicyBroken(f"opa test failed: {' '.join(done.stderr.split())[:500]}", "mend what it names")
    return [
        Test(
            f"{item['package'].removeprefix('data.')}.{item['name']}",
            passed=not (item.get("fail") or item.get("error")),
        )
        for item in results
        if not item.get("skip")
    ]


# --- engines and programs ----------------------------------------------------------------------------


def _engine(loaded: Bundle, further: Mapping[str, str]) -> Engine:
    engine = new()
    try:
        for name, text in (*loaded.modules, *further.items()):
            engine.add_policy(name, text)
        engine.add_data_json(loaded.data)
    except BaseException as error:
        if not is_failure(error):
            raise
        raise PolicyBroken(_explained(error), "mend the rule") from None
    return engine


def _evaluated(engine: Engine, rule: str) -> object:
    """The value of a rule; the engine's error as text, and `<undefined>` for no value."""
    try:
        return cast("object", json.loads(engine.eval_rule_as_json(rule)))
    except BaseException as error:
        if not is_failure(error):
            raise
        return _explained(error)


def _explained(error: BaseException) -> str:
    text = str(error).partition("\nStack backtrace:")[0]
    place, problem = _PLACE.search(text), _PROBLEM.search(text)
    where = f"{place['file']}:{place['line']}: " if place else ""
    return where + (problem["text"] if problem else " ".join(text.split()))


def program(name: str) -> str | None:
    """`opa` or `regal`: from the repository's `.tools/`, which `make tools` fills, else from the PATH."""
    tools = Path(__file__).resolve().parents[2] / ".tools" / name
    return str(tools) if tools.is_file() else shutil.which(name)


def _program(title: str, name: str, *arguments: str, says: str = "") -> Check:
    found, begun = program(name), time.monotonic()
    if found is None:
        return Check(title, skipped=f"{name} is not here; `make tools` installs it")
    done = _run(found, *arguments)
    lines = [f"{line} {says}".strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    if done.returncode == 0 and not says:
        lines = []
    if done.returncode != 0 and not lines:
        lines = [f"{name} ended with status {done.returncode}"]
    return _check(title, lines, begun)


def _opa_check(folder: Path, grants: Path | None) -> Check:
    """Return the findings of `opa check`: of all files, and of those that decide with the gateway's own types of the input."""
    name, begun = "opa check", time.monotonic()
    if program("opa") is None:
        return _program(name, "opa")
    try:
        loaded = bundle.read(folder, grants)
    except PolicyError as error:
        return Check(name, skipped=f"it cannot be loaded: {error.message}")
    with _merged(loaded, _tests(folder)) as everything:
        lines = _opa_findings(everything, "--strict", *_schemas(folder))
    deciding = tuple((file, text) for file, text in loaded.modules if not file.startswith("system/"))
    schema = json.dumps(contract.schemas()["input.json"])
    with _merged(replace(loaded, modules=deciding), {}) as place, NamedTemporaryFile("w", suffix=".json") as file:
        file.write(schema)
        file.flush()
        lines += _opa_findings(place, "--schema", file.name)
    return _check(name, list(dict.fromkeys(lines)), begun)


def _opa_findings(place: Path, *options: str) -> list[str]:
    done = _program("opa check", "opa", "check", "--max-errors", "100000", "--bundle", *options, str(place))
    lines = (_COUNT.sub("", line.replace(f"{place}/", "")) for line in done.findings)
    # A schema by a name of the folder's own is not here in the second look.
    return [line for line in lines if line and not line.endswith("undefined schema: schema.input")]


@contextmanager
def _merged(loaded: Bundle, tests: Mapping[str, str]) -> Generator[Path]:
    """Give a folder in which OPA finds the Rego files, and the very data that the embedded engine has."""
    with TemporaryDirectory(prefix="opagate-policy-") as made:
        place = Path(made)
        manifest = json.dumps({"roots": loaded.roots, "rego_version": 1})
        for name, text in (
            *loaded.modules,
            *tests.items(),
            ("data.json", loaded.data),
            (".manifest", manifest),
        ):
            path = place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        yield place


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PROGRAM_SECONDS)  # noqa: S603 - the program is opa or regal, without a shell
    except subprocess.TimeoutExpired:
        raise PolicyBroken(
            f"{Path(command[0]).name} took longer than {_PROGRAM_SECONDS} s", "run it by hand to see why"
        ) from None


def _schemas(folder: Path) -> tuple[str, ...]:
    return ("--schema", str(folder / "schemas")) if (folder / "schemas").is_dir() else ()


def _regal_config(folder: Path) -> tuple[str, ...]:
    path = folder / ".regal/config.yaml"
    return ("--config-file", str(path)) if path.is_file() else ()
