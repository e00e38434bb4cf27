"""What the pages say is so: links lead somewhere, snippets parse, and nothing that people can use is left out."""

from __future__ import annotations

import ast
import itertools
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, cast, get_args

import pytest
import typer
import yaml
from pydantic import BaseModel

from gateway import config
from gateway.config import Configuration
from gateway.model import reasons
from gateway.policy.folder import annotations, bundle
from gateway.policy.folder.data_files import GRANTS
from gateway.policy.folder.folders import PolicyFolders
from gateway.record.telemetry.metrics import Metrics, SignalCounts
from gateway.surfaces.cli import rego
from gateway.surfaces.cli.root import app
from tests.compiled_policy import compiled
from tests.policy.conftest import cases, put
from tests.policy.test_rego import CHECKS
from tests.requirements import REQUIREMENTS

ROOT: Final = Path(__file__).resolve().parent.parent
PAGES: Final = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
_FENCED: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INDENTED: Final = re.compile(r"(?<=\n\n)(?: {4}.*\n|\n(?= {4}))+")
_LINK: Final = re.compile(r"\]\(([^)\s]+)\)")


class Snippet(NamedTuple):
    page: str
    language: str
    text: str


def snippets() -> Iterator[Snippet]:
    for page in PAGES:
        for language, text in _FENCED.findall(page.read_text("utf-8")):
            yield Snippet(str(page.relative_to(ROOT)), language, text)


def yaml_snippets() -> list[Snippet]:
    return [item for item in snippets() if item.language == "yaml"]


def headings(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    lines = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_within_the_repository_lead_somewhere(page: Path):
    text = _FENCED.sub("", page.read_text("utf-8"))
    dead: list[str] = []
    for link in _LINK.findall(text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in headings(target)):
            dead.append(link)

    assert dead == []


@pytest.mark.parametrize("source", sorted({item.source for item in REQUIREMENTS.values() if ".md" in item.source}))
def test_a_page_of_ours_that_a_requirement_comes_from_is_there(source: str):
    for path, anchor in re.findall(r"((?:docs/)?[\w/.-]+\.md)(?:#([\w-]+))?", source):
        assert (ROOT / path).exists()
        assert not anchor or anchor in headings(ROOT / path)


def test_each_benchmark_that_a_page_runs_is_a_program():
    named = {name for page in PAGES for name in re.findall(r"python -m (benchmarks[.\w]*)", page.read_text("utf-8"))}
    places = {name: ROOT / name.rstrip(".").replace(".", "/") for name in named}

    assert "benchmarks.first_day" in named
    assert [
        name for name, at in places.items() if not (at / "__main__.py").exists() and not at.with_suffix(".py").exists()
    ] == []


def test_every_page_can_be_reached_from_the_readme():
    reached: set[Path] = set()
    following = [ROOT / "README.md"]
    while following:
        page = following.pop()
        if page in reached:
            continue
        reached.add(page)
        for link in _LINK.findall(page.read_text("utf-8")):
            target = (page.parent / link.partition("#")[0]).resolve()
            if target.is_dir():
                following += target.glob("*.md")
            elif target.suffix == ".md" and target.is_file():
                following.append(target)

    assert {str(page.relative_to(ROOT)) for page in PAGES if page not in reached} == set()


def commands(parent: Any, words: tuple[str, ...] = ()) -> Iterator[str]:
    for name, command in parent.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*words, name))
        else:
            yield " ".join((*words, name))


def test_every_command_is_documented():
    page = (ROOT / "docs/reference/cli.md").read_text("utf-8")
    found = list(commands(typer.main.get_command(app)))

    assert len(found) > 10
    assert [name for name in found if f"## opagate {name}\n" not in page] == []


def has_command(command: Any, words: list[str]) -> bool:
    """Whether the words name a command or a group. Words behind a command are its arguments."""
    if not words or not hasattr(command, "commands"):
        return True
    return words[0] in command.commands and has_command(command.commands[words[0]], words[1:])


def test_every_command_that_a_page_names_exists():
    root = typer.main.get_command(app)
    wrong: list[str] = []
    for page in PAGES:
        # An older release had other words.
        text = (
            re.split(r"(?m)^## \d", page.read_text("utf-8"))[0]
            if page.name == "CHANGELOG.md"
            else page.read_text("utf-8")
        )
        code = "\n".join([*re.findall(r"`([^`]+)`", text), *re.findall(r"^ {4}(.*)$", text, re.MULTILINE)])
        code += "\n".join(item.text for item in snippets() if item.page == str(page.relative_to(ROOT)))
        named = re.findall(r"(?:^|\$\()opagate((?: [a-z][a-z-]*)+)", code, re.MULTILINE)
        wrong += [f"{page.name}: opagate{words}" for words in named if not has_command(root, words.split())]

    assert wrong == []
    assert not has_command(root, ["credentials", "explain"])


def test_every_command_that_the_gateway_names_exists():
    root = typer.main.get_command(app)
    files = [
        path
        for kind in ("py", "json", "html", "rego", "yaml")
        for top in ("gateway", "rego", "deploy")
        for path in (ROOT / top).rglob(f"*.{kind}")
    ]
    found = [
        (path, words)
        for path in files
        for words in re.findall(r"`opagate((?: [a-z][a-z-]*)+)", path.read_text("utf-8"))
    ]

    assert len(found) > 100
    assert [
        f"{path.relative_to(ROOT)}: opagate{words}" for path, words in found if not has_command(root, words.split())
    ] == []


def test_every_setting_is_documented_in_words():
    page = (ROOT / "docs/reference/configuration.md").read_text("utf-8")

    assert len(settings()) > 80
    assert sorted(name for name in settings() if f"\n| `{name}` |" not in page) == []
    assert "class '" not in page


def settings(model: type[BaseModel] = Configuration) -> set[str]:
    """The names of all settings, those in others too."""
    found = {field.alias or name for name, field in model.model_fields.items()}
    for field in model.model_fields.values():
        for below in models(field.annotation):
            found |= settings(below)
    return found


def models(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from models(argument)


def test_every_metric_is_documented_with_its_labels():
    page = (ROOT / "docs/operations/siem.md").read_text("utf-8").partition("## Metrics")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) ?\| ", page, re.MULTILINE)
    metrics = Metrics()
    metrics.observe_in_flight(lambda: 0)
    metrics.observe_streams(lambda: 0)
    metrics.observe_certificates(dict[tuple[str, str], float])
    metrics.observe_leases(dict[str, int])
    metrics.observe_signals(lambda: SignalCounts(0, 0, {}))
    there = {
        family.name.removeprefix("opagate_") + ("_total" if family.type == "counter" else "")
        for family in metrics.registry.collect()
    }
    labels = {
        name: list(getattr(held, "_labelnames", ()))
        for held, names in metrics.registry._collector_to_names.items()
        for name in names
    }

    assert sorted(name for name, _ in rows) == sorted(there)
    assert {name: re.findall(r"\w+", by) for name, by in rows} == {
        name: labels.get(f"opagate_{name}", []) for name, _ in rows
    }


def test_nothing_is_measured_that_is_not_documented():
    page = (ROOT / "docs/operations/siem.md").read_text("utf-8").partition("## Metrics")[2].partition("\n## ")[0]
    documented = {name for name, _ in re.findall(r"^\| `(\w+)` \| (.*?) ?\| ", page, re.MULTILINE)}
    metrics = Metrics()
    metrics.count_refusal("identity/missing")
    told = set(re.findall(r"^opagate_(\w+)", metrics.exposition().decode(), re.MULTILINE))

    assert "refusals_total" in told
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in told} <= documented


def test_every_code_that_the_gateway_gives_by_itself_is_documented():
    pages = "".join((ROOT / page).read_text("utf-8") for page in ("docs/refusals.md", "docs/reference/reasons.md"))
    given = {entry.code for entry in reasons.entries() if "{" not in entry.code}

    assert len(given) > 60
    assert sorted(code for code in given if f"`{code}`" not in pages) == []


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/design/0001-rooms-and-their-interfaces.md"])
def test_a_class_or_module_that_a_page_for_contributors_names_is_there(page: str):
    sources = [*(ROOT / "gateway").rglob("*.py"), *(ROOT / "tests").glob("*.py")]
    classes = {
        name for path in sources for name in re.findall(r"^(?:class )?(\w+)", path.read_text("utf-8"), re.MULTILINE)
    }
    modules = {path.name for path in sources}
    text = _FENCED.sub("", (ROOT / page).read_text("utf-8"))
    named = {word for code in re.findall(r"`([^`\n]+)`", text) for word in re.findall(r"\b[A-Z]+[a-z]\w+", code)}

    assert sorted(named - classes - {"Callable", "True", "NamedTuple", "Struct"}) == []
    assert sorted(set(re.findall(r"`(\w+\.py)`", text)) - modules) == []


def logged() -> Iterator[str]:
    """Each event of the log: names such as `policy.loaded` in the calls that log."""
    for path in sorted((ROOT / "gateway").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(
                        value=logger, attr="debug" | "info" | "warning" | "error" | "critical" | "exception"
                    ),
                    args=[ast.Constant(value=str(event))],
                ) if re.search(r"log\b", ast.unparse(logger)):
                    yield event
                case ast.Call(func=ast.Attribute(attr="_note"), args=[ast.Constant(value=str(event)), *_]) if (
                    "." in event
                ):
                    yield event
                case _:
                    pass


def test_every_event_of_the_log_is_documented():
    page = (ROOT / "docs/operations/siem.md").read_text("utf-8").partition("## Logs")[2].partition("\n## ")[0]
    rows = [
        event for cell in re.findall(r"^\| (`.*?) \| ", page, re.MULTILINE) for event in re.findall(r"`([^`]+)`", cell)
    ]

    assert len(rows) > 25
    assert sorted(rows) == sorted(set(logged()))


SECRETS = {"HOOK_SECRET": "whsec_" + "QUJD" * 8, "SLACK_WEBHOOK": "https://hooks.slack.com/services/x"}
"""Values of variables in pages, where a text of any form would not do."""


@pytest.mark.parametrize("snippet", yaml_snippets(), ids=lambda snippet: snippet.page)
def test_yaml_in_a_page_is_a_configuration_or_grants_without_a_fault(
    snippet: Snippet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    document: dict[str, Any] = yaml.safe_load(snippet.text)
    upstreams = document.get("upstreams", {})
    if any(isinstance(item, list | str) for item in upstreams.values()):
        (tmp_path / "grants.yaml").write_text(snippet.text, encoding="utf-8")

        assert compiled(bundle.read_folder(ROOT / "rego", tmp_path / "grants.yaml")).problems(GRANTS) == []
        return
    for name in re.findall(r"\$\{(\w+)\}", snippet.text):
        monkeypatch.setenv(name, SECRETS.get(name, "x" * 32))

    config.parse(snippet.text, base=tmp_path, name=snippet.page)


def test_there_is_yaml_to_look_at():
    assert {"README.md", "docs/policy/grants.md"} <= {item.page for item in yaml_snippets()}


def test_the_python_of_the_pages_compiles():
    found = [item for item in snippets() if item.language == "python"]

    assert found
    for item in found:
        compile(item.text, item.page, "exec")


def test_a_rule_that_a_page_shows_stands_where_the_page_says():
    page = (ROOT / "docs/operations/decisions.md").read_text("utf-8")
    shown = re.findall(
        r"^ {4}([a-z-]+/[a-z-]+) .*\n(?:(?! {4}[a-z-]+/).*\n)*? {4}rule +(gateway/\S+):(\d+)$", page, re.MULTILINE
    )
    wrong = {code: line for code, file, line in shown if code not in _annotation(ROOT / "rego" / file, int(line))}

    assert [code for code, *_ in shown] == ["credential-chain/presentation", "fan-out/destinations"]
    assert wrong == {}


def _annotation(file: Path, line: int) -> str:
    """The comment that begins at a line."""
    first, *rest = file.read_text("utf-8").splitlines()[line - 1 :]
    return "".join(itertools.takewhile(lambda text: text.startswith("#"), rest)) if first == "# METADATA" else ""


@pytest.fixture
def with_the_page(tmp_path: Path) -> Path:
    """The shipped policy and the family that docs/policy/shipped-policy.md makes."""
    page = (ROOT / "docs/policy/shipped-policy.md").read_text("utf-8")
    blocks = [re.sub(r"^ {4}", "", block, flags=re.MULTILINE).strip() + "\n" for block in _INDENTED.findall(page)]
    rule = next(block for block in blocks if "package gateway.denials.tickets\n" in block)
    test = next(block for block in blocks if "package gateway.denials.tickets_test\n" in block)
    folder = tmp_path / "rego"
    shutil.copytree(ROOT / "rego", folder)
    family = folder / "gateway/denials/tickets"
    family.mkdir(exist_ok=True)
    (family / "tickets.rego").write_text(rule, encoding="utf-8")
    (family / "tickets_test.rego").write_text(test, encoding="utf-8")
    decision = folder / "gateway/decision/decision.rego"
    text = decision.read_text("utf-8")
    line = next(block.strip() for block in blocks if block.strip() == "data.gateway.denials.tickets.denials,")
    decision.write_text(
        text.replace("\tdata.gateway.overlay.denials,\n", f"\tdata.gateway.overlay.denials,\n\t{line}\n", 1), "utf-8"
    )

    assert decision.read_text("utf-8") != text
    return folder


@pytest.mark.opa
def test_the_rule_that_the_page_makes_works(with_the_page: Path):
    tests = [
        item for item in rego.run_tests(rego.suites(PolicyFolders(with_the_page))) if ".tickets_test." in item.name
    ]

    assert [(item.name.rpartition(".")[2], item.passed) for item in tests] == [
        ("test_an_implicit_task_closes_no_tickets", True)
    ]


def test_the_reasons_of_the_rule_that_the_page_makes_can_be_collected(with_the_page: Path):
    reasons = annotations.table(bundle.sources(with_the_page))

    assert reasons["tickets/undeclared-task"]["remedy"] == "Open a task with POST /tasks, and call with its token."


def test_a_family_that_is_added_refuses_calls_that_would_pass(with_the_page: Path):
    call = yaml.safe_load((ROOT / "tests/policy/fixtures/bases.yaml").read_text("utf-8"))["read"]
    rule = with_the_page / "gateway/denials/tickets/tickets.rego"
    rule.write_text(rule.read_text("utf-8").replace("tickets/close_ticket", call["resource"]["id"]), "utf-8")

    before, after = (_decided(folder, call) for folder in (ROOT / "rego", with_the_page))

    assert (before["effect"], after["effect"]) == ("allow", "deny")
    assert [reason["code"] for reason in after["reasons"]] == ["tickets/undeclared-task"]


def test_no_other_fixture_is_decided_otherwise_with_the_rule_that_the_page_makes(with_the_page: Path):
    engine = compiled(bundle.read_folder(with_the_page))
    shipped = [case for case in cases() if case.policy == "shipped" and case.entrypoint == "decision"]
    answers = {case.name: cast("Any", engine.answer("decision", case.input)) for case in shipped}

    assert len(shipped) > 100
    assert {case.name: _said(answers[case.name]) for case in shipped} == {
        case.name: {"effect": case.expected["effect"], "codes": case.expected.get("codes", [])} for case in shipped
    }


def test_the_readme_compares_as_the_table_of_the_benchmark_does():
    table = (ROOT / "docs/benchmarks/latest.md").read_text("utf-8")
    ratio = dict(re.findall(r"^opagate \(embedded\) / (\S+) at 16 connections: ([\d.]+)", table, re.MULTILINE))
    told = re.findall(r"([\d.]+) times as many", (ROOT / "README.md").read_text("utf-8"))

    assert told == [
        f"{float(ratio['mcp-proxy']):.1f}",
        f"{float(ratio['fastmcp']):.1f}",
        f"{1 / float(ratio['envoy']):.0f}",
    ]


@pytest.mark.opa
@pytest.mark.parametrize("check", ["fmt", "check", "load", "test", "regal"])
def test_make_policy_has_nothing_against_the_rule_that_the_page_makes(
    check: str, with_the_page: Path, opa_path: Path, regal_path: Path
):
    assert CHECKS.CHECKS[check](with_the_page) == []


def test_the_fixture_that_the_page_makes_holds(with_the_page: Path):
    page = (ROOT / "docs/policy/shipped-policy.md").read_text("utf-8")
    block = next(block for block in _INDENTED.findall(page) if "expect:" in block)
    fixture = yaml.safe_load(block)[0]
    call = yaml.safe_load((ROOT / "tests/policy/fixtures/bases.yaml").read_text("utf-8"))["read"]
    for pointer, value in fixture["set"].items():
        put(call, pointer, value)

    assert _said(_decided(with_the_page, call)) == fixture["expect"]


def _said(answer: dict[str, Any]) -> dict[str, Any]:
    return {"effect": answer["effect"], "codes": [reason["code"] for reason in answer["reasons"]]}


def _decided(folder: Path, call: dict[str, Any]) -> dict[str, Any]:
    engine = compiled(bundle.read_folder(folder))
    return cast("dict[str, Any]", engine.answer("decision", call))


def test_each_test_that_ci_names_is_there():
    named = re.findall(r"tests/[\w/{},.]+", (ROOT / ".ci/run").read_text("utf-8"))
    command = ["bash", "-c", f"printf '%s\\n' {' '.join(named)}"]
    paths = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()

    assert len(paths) > 4
    assert [path for path in paths if not (ROOT / path).exists()] == []
