"""The commands as their user runs them, with the demo server that `opagate init` configures."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from gateway.policy.folder.folders import find_shipped
from tests import tiny_policy
from tests.gateway_process import free_port
from tests.interaction.cli.conftest import Done, Opagate

# --- usage -------------------------------------------------------------------------------------------


def test_help_and_version_are_there(opagate: Opagate):
    assert "catalogue" in opagate("--help").out
    assert opagate("--version").out.startswith("opagate ")


@pytest.mark.parametrize(
    "command", ["", "up", "stop", "policy replay", "catalogue pin", "journal tail", "policy eval", "credentials token"]
)
def test_help_fits_80_columns_and_names_no_type_of_python(opagate: Opagate, command: str):
    done = opagate(*command.split(), "--help", environment={"COLUMNS": "80"})

    assert done.status == 0
    assert max(map(len, done.out.splitlines())) <= 80
    assert "\x1b" not in done.out
    assert re.findall(r"(?i)<(?:bool|str|int|path|list)|\[(?:str|Path)\]", done.out) == []


_SECRETS = """
identity: [{kind: development}]
upstreams:
  api: {url: "http://127.0.0.1:9/mcp", audience: api, credential: {kind: header, value: "${API_TOKEN}"}}
  local: {command: [cat], audience: local, env: {KEY: "file:no-such-file"}}
policy: {path: tiny}
"""


_CONNECTING = ("up", "check", "catalogue show")
_LOCAL = ("credentials token --agent ada", "journal verify", "journal explain 0123456789abcdef01234567", "policy check")


@pytest.mark.parametrize("command", [*_CONNECTING, *_LOCAL])
def test_only_commands_that_connect_to_upstreams_need_their_secrets(opagate: Opagate, tmp_path: Path, command: str):
    (tmp_path / "gateway.yaml").write_text(_SECRETS)
    tiny_policy.write_for_known_callers(tmp_path / "tiny")
    (tmp_path / "state/journal").mkdir(parents=True, mode=0o700)

    done = opagate(*command.split())

    needed = "the environment variable API_TOKEN is not set" in done.err + done.out
    assert needed == (command in _CONNECTING)


@pytest.mark.parametrize(
    ("arguments", "said", "remedy"),
    [
        (["tokn"], "no such command 'tokn'", "opagate --help"),
        (["credentials", "token"], "missing option '--agent'", "opagate credentials token --help"),
        (["credentials", "token", "--agent", "a", "--ttl", "soon"], "'soon' is not a duration", "opagate"),
        (["credentials", "token", "--agent", "a", "--group", "g"], "add --user", "opagate"),
        (["journal", "tail", "--lines", "x"], "invalid value for '--lines'", "opagate journal tail --help"),
        (["up", "--json"], "--json goes with --once", "opagate"),
        (["up", "--verbose"], "--verbose goes with --once", "opagate"),
        (["init", "--from", "none.json"], "none.json cannot be read", "name the MCP file of a client"),
        (["check"], "there is no configuration file gateway.yaml", "opagate init"),
        (["up", "--config", "gateway.yaml"], "there is no configuration file gateway.yaml", "opagate init"),
        (["policy", "eval", "none.json"], "none.json cannot be read", "readable"),
        (["policy", "check", "--path", "none"], "there is no policy folder none", "opagate policy check --help"),
        (["policy", "test", "--path", "none"], "there is no policy folder none", "opagate policy test --help"),
        (["up", "--config", "/"], "the configuration file / cannot be read: Is a directory", "name another"),
    ],
)
def test_wrong_usage_is_a_sentence_a_remedy_and_status_2(
    opagate: Opagate, arguments: list[str], said: str, remedy: str
):
    done = opagate(*arguments)

    assert (done.status, done.out) == (2, "")
    first, second = done.err.splitlines()
    assert first.startswith("opagate: ")
    assert "invalid value: " not in first
    assert said in first
    assert remedy in second


# --- from nothing to a working gateway ---------------------------------------------------------------


def test_what_init_writes_passes_the_check_and_can_be_pinned(opagate: Opagate, tmp_path: Path):
    assert opagate("init").status == 0
    again = opagate("init")
    assert (again.status, "would be overwritten" in again.err) == (2, True)

    checked = opagate("check", "--json").json
    assert checked["ok"] is True, checked
    table = opagate("catalogue", "show", environment={"COLUMNS": "80"}).out
    assert "files/delete_file" in table
    assert "destructive" in table
    tools = opagate("catalogue", "show", "--json").json["tools"]
    assert {tool["tool"]: tool["pin"] for tool in tools} == dict.fromkeys(
        ("delete_file", "list_files", "read_file", "write_file"), "unreviewed"
    )
    assert not (tmp_path / "catalogue.lock").exists(), "looking pins nothing"

    refused = opagate("catalogue", "pin", "files/read_file")
    assert (refused.status, "--yes" in refused.err) == (2, True)
    nothing = opagate("catalogue", "pin", "files/read_fil", "--yes")
    assert (nothing.status, "there is no 'read_fil'; the upstream lists: delete_file, " in nothing.err) == (
        2,
        True,
    )
    assert opagate("catalogue", "pin", "files/read_file", "--yes").status == 0
    lock = (tmp_path / "catalogue.lock").read_text("utf-8")
    assert "read_file" in lock
    assert "write_file" not in lock
    differing = opagate("catalogue", "diff", "--json")
    assert (differing.status, {change["kind"] for change in differing.json["changes"]}) == (1, {"added"})
    assert opagate("catalogue", "pin", "--yes").status == 0
    assert opagate("catalogue", "diff").status == 0
    unknown = opagate("catalogue", "diff", "nobody")
    assert (unknown.status, "configured are: files" in unknown.err) == (2, True)


def test_the_check_says_what_is_wrong_where_and_how_to_mend_it(opagate: Opagate, tmp_path: Path):
    opagate("init")
    path = tmp_path / "gateway.yaml"
    path.write_text(path.read_text("utf-8").replace("gateway.surfaces.demo.files", "gateway.demo.nothing"), "utf-8")
    grants = tmp_path / "grants.yaml"
    grants.write_text(grants.read_text("utf-8").replace("tools: [write_file]", "tols: [write_file]"), "utf-8")

    done = opagate("check", "--json")
    failed = {item["what"]: item for item in done.json["findings"] if item["state"] == "fail"}

    assert done.status == 1
    assert set(failed) == {"upstream files", "grants"}
    assert "grant 2: there is no field" in failed["grants"]["found"] or "one of tools" in failed["grants"]["found"]
    assert all(item["remedy"] for item in failed.values())
    path.write_text("lisen: x\nlimits: {connect: 1}\n", "utf-8")
    invalid = opagate("check")
    assert invalid.status == 1
    assert "did you mean 'listen'" in invalid.out
    assert "1 has no unit" in invalid.out


def test_a_limit_that_cannot_be_read_is_told_by_both_checks(opagate: Opagate, tmp_path: Path):
    opagate("init")
    policy, path = tmp_path / "rego", tmp_path / "gateway.yaml"
    shutil.copytree(find_shipped(), policy)
    settings = policy / "gateway/settings/data.yaml"
    settings.write_text(settings.read_text("utf-8").replace("calls: {soft: 200000,", "calls: {soft: 2000000,"), "utf-8")
    path.write_text(path.read_text("utf-8").replace("policy:\n", f"policy:\n  path: {policy}\n"), "utf-8")

    done = opagate("check", "--json")
    (failed,) = [item for item in done.json["findings"] if item["state"] == "fail" and item["what"] == "settings"]

    assert done.status == 1
    assert f"{settings}: task_limits.calls needs two numbers, soft and hard, with soft below hard" in failed["found"]
    assert failed["remedy"]
    checked = opagate("policy", "check", "--path", str(policy))
    assert checked.status == 1
    assert "task_limits.calls needs two numbers" in checked.out


def test_suppressions_that_are_over_or_cover_nothing_are_told(opagate: Opagate, tmp_path: Path):
    opagate("init")
    path = tmp_path / "gateway.yaml"
    rules = [
        "{upstream: files, detector: jwt, until: 2026-01-31, reason: over}",
        "{upstream: fils, detector: jwt, until: 2999-01-31, reason: misspelt}",
        "{upstream: fil*, detector: jwt, until: 2999-01-31, reason: good}",
        "{upstream: files, detector: named-pasword, until: 2999-01-31, reason: misspelt}",
        "{upstream: files, detector: acme-key, until: 2999-01-31, reason: of a rule that is loaded}",
    ]
    (tmp_path / "rules.toml").write_text(
        "[[rules]]\nid = 'acme-key'\nregex = 'acme_[a-z0-9]{20}'\nkeywords = ['acme_']\n", "utf-8"
    )
    text = path.read_text("utf-8")
    path.write_text(f"{text}\ninspection:\n  rules: [rules.toml]\n  suppressions: [{', '.join(rules)}]\n", "utf-8")

    done = opagate("check", "--json")
    found = {item["what"]: item for item in done.json["findings"] if item["what"].startswith("inspection")}

    assert done.status == 0
    assert {what: item["state"] for what, item in found.items()} == {
        "inspection.rules": "ok",
        "inspection.suppressions.0": "warn",
        "inspection.suppressions.1": "warn",
        "inspection.suppressions.3": "warn",
    }
    assert "ended on 2026-01-31" in found["inspection.suppressions.0"]["found"]
    assert "no upstream has such a name" in found["inspection.suppressions.1"]["found"]
    assert "did you mean 'named-password'" in found["inspection.suppressions.3"]["found"]


def test_the_check_that_a_page_shows_is_what_it_prints(opagate: Opagate, tmp_path: Path):
    opagate("init")
    path = tmp_path / "gateway.yaml"
    rule = "{upstream: files, detector: named-pasword, until: 2999-12-31, reason: fixtures}"
    misspelt = path.read_text("utf-8").replace("write_file:", "write_fil:").replace(":8080", f":{free_port()}")
    path.write_text(f"{misspelt}\ncore: python\ninspection:\n  suppressions: [{rule}]\n", "utf-8")
    page = (Path(__file__).resolve().parents[3] / "docs/operations/install.md").read_text("utf-8")
    shown = page.partition("are misspelt:\n\n")[2].partition("\n\nWarnings")[0]

    done = opagate("check")

    assert done.status == 0
    assert words(done.out.rpartition("─")[2]) == words(shown) != []


def words(text: str) -> list[str]:
    """What stands in a table, without its widths, the policy's revision, the port, and the machine's files and means to isolate."""
    text = re.sub(r"(isolation of files).*?(upstream files)", r"\1 \2", text, flags=re.DOTALL)
    return re.sub(r"(?<=revision )[0-9a-f]{16}|(?<=127\.0\.0\.1:)[0-9]+|(?<=room for )[0-9]+", "…", text).split()


DYING = """
import os, sys
print("\\n".join(f"line {number}" for number in range(20)), file=sys.stderr)
print("\\x1b[2J\\u202e" + "x" * 1000, file=sys.stderr)
print("cannot log in with", os.environ["API_KEY"], os.environ.get("OTHER"), file=sys.stderr)
sys.exit("no such folder: /data")
"""


@pytest.mark.parametrize(
    "command", ["check", "check --json", "catalogue show", "catalogue diff", "catalogue pin --yes"]
)
def test_what_a_program_wrote_that_ended_at_its_start_is_told(opagate: Opagate, tmp_path: Path, command: str):
    (tmp_path / "dying.py").write_text(DYING, "utf-8")
    program = json.dumps([sys.executable, "dying.py"])
    upstream = f"{{command: {program}, cwd: ., audience: files, env: {{API_KEY: '${{THE_KEY}}'}}}}"
    (tmp_path / "gateway.yaml").write_text(
        f"identity: [{{kind: development}}]\nupstreams: {{files: {upstream}}}\n", "utf-8"
    )

    done = opagate(*command.split(), environment={"THE_KEY": "sesame-1234", "OTHER": "open-5678"})
    told = done.out + done.err
    if command == "check --json":
        told = "\n".join(line for finding in done.json["findings"] for line in finding["lines"])
    joined = "".join(told.split())

    assert done.status == (2 if command in {"catalogue diff", "catalogue pin --yes"} else 1)
    assert "no such folder: /data" in told
    assert "cannot log in with [secret] None" in told
    assert re.findall("line ([0-9]+)", told) == [str(number) for number in range(13, 20)]
    assert "line19⟨U+001B⟩[2J⟨U+202ERIGHT-TO-LEFTOVERRIDE⟩xxx" in joined, "a table folds long lines"
    assert re.findall("[\x1b\u202e]|x{301}|sesame|open-5678", told + joined + done.out) == []


def test_rules_that_cannot_be_read_are_told(opagate: Opagate, tmp_path: Path):
    opagate("init")
    path = tmp_path / "gateway.yaml"
    path.write_text(f"{path.read_text('utf-8')}\ninspection: {{rules: [rules.toml]}}\n", "utf-8")
    (tmp_path / "rules.toml").write_text("[[rules]]\nid = 'acme-key'\nregex = '('\n", "utf-8")

    done = opagate("check", "--json")
    (failed,) = [item for item in done.json["findings"] if item["what"] == "inspection.rules"]

    assert done.status == 1
    assert (failed["state"], "acme-key" in failed["found"]) == ("fail", True)


def test_import_copies_no_secret(opagate: Opagate, tmp_path: Path):
    servers = {"gh": {"url": "https://gh.example/mcp", "headers": {"Authorization": "Bearer s3cret-marker"}}}
    (tmp_path / "mcp.json").write_text(json.dumps({"mcpServers": servers}), "utf-8")

    done = opagate("init", "--from", "mcp.json", "--output", "imported.yaml")

    assert done.status == 0
    assert "GH_AUTHORIZATION" in done.out
    everything = done.out + done.err + "".join(p.read_text("utf-8") for p in tmp_path.glob("*.yaml"))
    assert "s3cret-marker" not in everything
    assert "imported.yaml" in opagate("check", "--config", "imported.yaml", "--json").json["configuration"]


def test_a_token_is_alone_on_standard_output_and_its_places_beside(opagate: Opagate, tmp_path: Path):
    opagate("init")
    done = opagate("credentials", "token", "--agent=triage", "--user=alice", "--group=staff", "--scope=a", "--ttl=2h")

    assert done.status == 0
    assert len(done.out.splitlines()) == 1
    assert done.out.count(".") == 2
    assert "from this machine only" in done.err
    path = tmp_path / "gateway.yaml"
    path.write_text(
        path.read_text("utf-8").replace("kind: development", "kind: development\n    from: private", 1), "utf-8"
    )
    assert "from private addresses and this machine" in opagate("credentials", "token", "--agent", "triage").err


def test_no_token_is_made_that_the_gateway_would_not_accept(opagate: Opagate, tmp_path: Path):
    (tmp_path / "gateway.yaml").write_text("identity: []\n", "utf-8")
    done = opagate("credentials", "token", "--agent", "a")

    assert (done.status, done.out) == (2, "")
    assert "does not accept development tokens" in done.err


# --- a gateway that runs -----------------------------------------------------------------------------


def test_the_tour_goes_as_expected_and_leaves_a_whole_record(opagate: Opagate, tour: Done, tmp_path: Path):
    *steps, summary = [json.loads(line) for line in tour.out.splitlines()]

    assert summary["unexpected"] == 0
    assert summary["journal"]["ok"] is True
    assert [step for step in steps if not step["expected"]] == []
    refused = next(step for step in steps if step["tool"] == "export_customers")
    assert refused["codes"] == ["tool/not-granted"]

    explained = opagate("journal", "explain", refused["decision"], "--json").json
    assert explained["decision"]["effect"] == "deny"
    assert explained["reasons"][0]["rule"]["file"].endswith("tool.rego")
    assert explained["reasons"][0]["facts"]["/resource/id"] == "tickets/export_customers"
    people = opagate("journal", "explain", refused["decision"])
    assert "No grant" in people.out
    assert opagate("journal", "explain", "0" * 24).status == 1

    verified = opagate("journal", "verify", "--json").json
    assert (verified["ok"], verified["stopped"], verified["head"]) == (True, True, summary["journal"]["head"])
    assert opagate("journal", "verify", "--head", "f" * 64).status == 1
    calls = [json.loads(line) for line in opagate("journal", "export", "--kind", "call").out.splitlines()]
    assert {call["kind"] for call in calls} == {"call"}
    assert refused["decision"] in {call["id"] for call in calls}
    assert opagate("journal", "export", "--until", "2h").out == ""
    traces = opagate("journal", "export", "--format", "trace")
    assert sum(len(json.loads(line)["steps"]) for line in traces.out.splitlines()) == len(calls)
    assert "set journal.arguments: full" in traces.err
    assert opagate("journal", "export", "--format", "trace", "--kind", "call").status == 2
    assert opagate("journal", "export", "--task", "t").status == 2
    unknown = opagate("journal", "export", "--format", "trace", "--task", "t")
    assert (unknown.status, "there is no task 't'" in unknown.err) == (1, True)
    assert opagate("journal", "export", "--output", "x.jsonl").status == 0
    assert ((tmp_path / "x.jsonl").stat().st_mode & 0o777) == 0o600
    assert opagate("journal", "export", "--output", "x.jsonl").status == 2
    tailed = opagate("journal", "tail", "--no-follow", "-n", "30").out.splitlines()
    assert len(tailed) == 30
    leases = [said for said in tailed if re.search(r"\d{3}Z lease +\w+ +\[lease-", said)]
    assert leases
    assert all(
        re.search(
            r"\d{3}Z (stop|start|task +endorsed|approval +(asked +files/\w+ |\w+ +by jana )"
            r"|(call|settled) +\w[\w-]* +(files|mail|tickets)/\w+ )",
            said,
        )
        for said in tailed[-12:]
        if said not in leases
    )

    segment = next((tmp_path / "state/journal").glob("*.jsonl"))
    segment.write_bytes(segment.read_bytes().replace(b'"deny"', b'"DENY"', 1))
    broken = opagate("journal", "verify")
    assert (broken.status, "edited" in broken.out) == (1, True)
    assert "not as it was written" in broken.err


def test_the_tour_shows_a_stolen_credential_that_ends_with_its_task(opagate: Opagate, tour: Done, tmp_path: Path):
    *steps, summary = [json.loads(line) for line in tour.out.splitlines()]

    assert [(step["by"], step["outcome"], step["codes"]) for step in steps[-3:]] == [
        ("agent", "allowed", []),
        ("thief", "allowed", []),
        ("thief", "refused", ["token/inactive"]),
    ]
    assert all("Checkout hangs" in step["text"] for step in steps[-3:-1])
    (proof,) = [entry for entry in recorded(opagate, "lease") if entry == summary["lease"]]
    assert (proof["event"], proof["cause"], proof["proof"]["kind"]) == ("revoked", "task-completed", "own")
    assert opagate("credentials", "list").status != 0, "the gateway has stopped"
    last = {entry["id"]: entry["event"] for entry in recorded(opagate, "lease")}
    assert set(last.values()) == {"revoked"}
    assert not [
        path
        for path in (tmp_path / "state").rglob("*")
        if path.is_file() and b"eyJhbGciOiJFUzI1NiI" in path.read_bytes()
    ]


def recorded(opagate: Opagate, kind: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in opagate("journal", "export", "--kind", kind).out.splitlines()]


def test_the_tour_reads_well(opagate: Opagate):
    done = opagate("up", "--once")

    assert done.status == 0, done.err
    assert "REFUSED   mail/send_message" in done.out
    assert re.search(r"all as expected; the journal of \d+ entries verifies", done.out)
    assert re.search(r"lease-\w+ has ended \(task-completed\); proof in the journal", done.out)
    assert done.err == ""
    assert len(done.out.splitlines()) == 24
    assert max(map(len, done.out.splitlines())) <= 120


def test_the_tour_shows_all_that_was_said_when_it_is_asked_to(opagate: Opagate):
    done = opagate("up", "--once", "--verbose")

    assert done.status == 0, done.err
    assert "What would help:" in done.out
    assert "every line follows from the one before" in done.out


def test_a_port_that_is_taken_is_told(opagate: Opagate):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = opagate("up", "--port", str(taken.getsockname()[1]))

    assert done.status == 2
    assert "cannot be used: Address already in use" in done.err
    assert "--port" in done.err


def test_up_prints_its_token_once_and_stops_with_a_whole_record(opagate: Opagate, tmp_path: Path):
    port = free_port()
    with (tmp_path / "out").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "up", "--port", str(port)],
            cwd=tmp_path,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 60
        while "opagate journal explain" not in (tmp_path / "out").read_text("utf-8"):
            assert process.poll() is None, (tmp_path / "out").read_text("utf-8")
            assert time.monotonic() < deadline
            time.sleep(0.1)
        other = opagate("up", "--port", str(free_port()))
        assert (other.status, "another gateway writes" in other.err, "--state" in other.err) == (2, True, True)
        assert opagate("credentials", "token", "--agent", "me").status == 0
        assert opagate("catalogue", "diff").status == 0
        upstreams = yaml.safe_load((tmp_path / "state/up.yaml").read_text("utf-8"))["upstreams"]
        past = [httpx2.post(upstream["url"], json={}) for upstream in upstreams.values()]
        assert [(answer.status_code, answer.json()["code"]) for answer in past] == [(401, "token/missing")] * 3
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    printed = (tmp_path / "out").read_text("utf-8")
    start = printed.index('{\n  "mcpServers"')
    shown = json.JSONDecoder().raw_decode(printed[start:])[0]["mcpServers"]
    assert shown["mail"]["url"] == f"http://127.0.0.1:{port}/mcp/mail"
    assert shown["mail"]["headers"]["Authorization"] == "Bearer TOKEN"
    (token,) = re.findall(r"^ey\S+$", printed, re.MULTILINE)
    assert printed.count(token) == 1
    clients = tmp_path / "state/mcp.json"
    assert json.loads(clients.read_text("utf-8").replace(token, "TOKEN"))["mcpServers"] == shown
    assert token in clients.read_text("utf-8")
    assert clients.stat().st_mode & 0o777 == 0o600
    assert yaml.safe_load((tmp_path / "state/up.yaml").read_text("utf-8"))["listen"] == f"127.0.0.1:{port}"
    assert opagate("journal", "verify", "--json").json["stopped"] is True


def test_a_reader_that_goes_away_is_no_error(tour: Done, tmp_path: Path):
    for command in ("journal tail", "journal export", "policy check"):
        done = subprocess.run(
            ["bash", "-c", f"{sys.executable} -m gateway {command} | head -n 1; echo ${{PIPESTATUS[0]}}"],
            cwd=tmp_path,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.stderr == ""
        assert done.stdout.splitlines()[-1] in {"141", "0"}


def test_a_full_disk_for_the_output_is_told(opagate: Opagate, tmp_path: Path):
    opagate("init")
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
        done = subprocess.run(
            [sys.executable, "-m", "gateway", "credentials", "token", "--agent", "a"],
            cwd=tmp_path,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "No space left" in done.stderr
