"""The image and compose.yaml agree with the tree, with each other and with the configuration that they mount."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway import config
from gateway.config import Configuration, OpaEngine
from gateway.config.keys import load as load_keys
from gateway.surfaces.demo.processes import NAMES, upstreams
from gateway.surfaces.stored.opening import find_server
from tests.e2e.wire import until
from tests.gateway_process import free_port, running_gateway
from tests.servers.serving import stop

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))


class _ComposeLoader(yaml.SafeLoader):
    """A reader of compose files. `!reset` takes a value of the first file away."""


_ComposeLoader.add_constructor("!reset", lambda _loader, _node: None)
REPLICAS: dict[str, Any] = yaml.load((ROOT / "compose.replicas.yaml").read_text("utf-8"), _ComposeLoader)
with pytest.MonkeyPatch.context() as _environment:
    _environment.setenv("OPAGATE_PORT", "8080")
    _environment.setenv("OPAGATE_STORE", REPLICAS["x-gateway"]["environment"]["OPAGATE_STORE"])
    DEPLOYED = config.load(ROOT / "deploy/gateway.yaml")
    REPLICATED = config.load(ROOT / "deploy/replicas/gateway.yaml")
EXTRAS = (
    "for extra in ${EXTRAS}; do .venv/bin/python -m pip install -q --no-deps --require-hashes"
    " -r requirements/${extra}.txt || exit 1; done"
)
DEMO = upstreams({name: f"http://{name}:8000/mcp" for name in NAMES}, verified=True)


def copied() -> list[str]:
    """What the build takes from the tree; not what a later stage takes from an earlier one."""
    lines = re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
    return [source.rstrip("/") for line in lines for source in line.split()[:-1]]


def let_through(path: str) -> bool:
    """The last pattern of .dockerignore that a path, or a folder that it is in, matches decides."""
    names = [path, *(str(parent) for parent in Path(path).parents if str(parent) != ".")]
    outcome = True
    for line in (ROOT / ".dockerignore").read_text("utf-8").split():
        pattern = line.removeprefix("!")
        if any(fnmatch(name, pattern) or fnmatch(f"/{name}", pattern) for name in names):
            outcome = line.startswith("!")
    return outcome


@pytest.mark.parametrize("source", copied())
def test_what_the_image_is_built_of_exists_and_is_let_through(source: str):
    assert (ROOT / source).exists()
    assert let_through(source)


@pytest.mark.parametrize("path", [".git/config", "state/journal-key", "tests/conftest.py", "gateway/__pycache__/x.pyc"])
def test_nothing_else_is_let_through(path: str):
    assert not let_through(path)


def test_the_image_has_all_that_its_build_step_needs():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    match = re.search(r"^\$\(VENV\)/\.run: (.+?) \|", makefile, re.MULTILINE)
    project = re.findall(
        r'^(?:readme|license-files) = .*?"([^"]+)"', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE
    )

    assert match
    for needed in (*match[1].split(), *project):
        assert {needed, needed.partition("/")[0]} & set(copied()), needed


def test_the_image_is_built_by_the_step_that_make_run_begins_with():
    makefile = (ROOT / "Makefile").read_text("utf-8")

    assert re.search(r"^run: \$\(VENV\)/\.run ", makefile, re.MULTILINE)
    assert "VENV   := .venv\n" in makefile
    assert re.findall(
        r"^RUN (?!apt-get|useradd|chmod)(.+)$", DOCKERFILE.partition("\nFROM build")[0], re.MULTILINE
    ) == ["make .venv/.run", EXTRAS]


def test_the_extras_of_the_image_are_locked():
    assert '\nARG EXTRAS=""\n' in DOCKERFILE
    for extra in REPLICAS["services"]["gateway"]["build"]["args"]["EXTRAS"].split():
        assert "--hash=sha256:" in (ROOT / f"requirements/{extra}.txt").read_text("utf-8")


def test_the_image_leaves_no_anonymous_volume_and_starts_from_a_clone_with_a_strict_umask():
    assert "VOLUME" not in DOCKERFILE
    built, _, _ = DOCKERFILE.partition("\nFROM build AS inventory")

    assert "\nRUN chmod -R go+rX /opagate " in built.partition("\nRUN make .venv/.run\n")[2]


def test_no_layer_of_the_image_repeats_files_of_another():
    """A change of a file's mode in a further layer copies the file: the image would have everything twice."""
    _, _, last = DOCKERFILE.rpartition("\nFROM ")

    assert re.findall(r"^RUN .*(?:chmod|chown) -R", last, re.MULTILINE) == []
    assert last.count("COPY --from=build") == 1


def test_the_image_has_a_list_of_what_is_installed():
    locked = (ROOT / "requirements/inventory.txt").read_text("utf-8")

    assert re.search(r"^cyclonedx-bom==\S+ \\\n +--hash=sha256:", locked, re.MULTILINE)
    assert "COPY --from=inventory /opagate.cdx.json /usr/share/opagate/" in DOCKERFILE


def test_a_command_in_the_container_finds_the_configuration_by_itself():
    (workdir,) = re.findall(r"^WORKDIR (.+)$", DOCKERFILE.rpartition("FROM ")[2], re.MULTILINE)

    assert f"./deploy/gateway.yaml:{workdir}/gateway.yaml:ro" in COMPOSE["services"]["gateway"]["volumes"]


def test_the_image_runs_as_nobody_in_particular():
    users = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)

    assert len(users) == 1
    assert "0" not in users[0]


def test_the_health_check_of_the_image_tells_a_gateway_that_lives_from_one_that_does_not(tmp_path: Path):
    match = re.search(r"^HEALTHCHECK .*\\\n +CMD (\[.+\])$", DOCKERFILE, re.MULTILINE)
    assert match
    with running_gateway("identity: [{kind: anonymous}]\n", tmp_path) as gateway:
        _, *arguments = json.loads(match[1].replace("127.0.0.1:8080", gateway.origin.removeprefix("http://")))
        alive = subprocess.run([sys.executable, *arguments], capture_output=True, timeout=300, check=False)
    dead = subprocess.run([sys.executable, *arguments], capture_output=True, timeout=300, check=False)

    assert (alive.returncode, alive.stderr) == (0, b"")
    assert dead.returncode == 1


def test_the_gateway_serves_the_configuration_that_is_mounted():
    command = re.search(r'^CMD \["up", "--config", "(.+)"\]$', DOCKERFILE, re.MULTILINE)
    mounts = COMPOSE["services"]["gateway"]["volumes"]

    assert command
    assert f"./deploy/gateway.yaml:{command[1]}:ro" in mounts


def test_all_that_the_gateway_writes_is_on_a_volume():
    written = (DEPLOYED.state, DEPLOYED.journal.path, DEPLOYED.catalogue.lock)

    assert "state:/state" in COMPOSE["services"]["gateway"]["volumes"]
    assert [path for path in written if not path.is_relative_to("/state")] == []


def test_opa_and_the_gateway_meet_at_one_socket_as_one_user():
    opa, engine = COMPOSE["services"]["opa"], DEPLOYED.policy.engine
    user = re.search(r"^USER (.+)$", DOCKERFILE, re.MULTILINE)

    assert isinstance(engine, OpaEngine)
    assert f"--addr={engine.url}" in opa["command"]
    assert user
    assert opa["user"] == user[1]
    assert "opa:/run/opa" in opa["volumes"]
    assert "opa:/run/opa" in COMPOSE["services"]["gateway"]["volumes"]


def test_opa_and_the_gateway_have_the_same_policy_folder():
    opa, gateway = COMPOSE["services"]["opa"], COMPOSE["services"]["gateway"]
    mount = f"./rego:{DEPLOYED.policy.path}:ro"

    assert mount in opa["volumes"]
    assert mount in gateway["volumes"]
    assert opa["command"][-3:] == ["--bundle", "--watch", str(DEPLOYED.policy.path)]


@pytest.mark.parametrize("name", NAMES)
def test_each_upstream_is_a_service_alone_with_the_gateway_on_a_network_that_leads_nowhere(name: str):
    service, gateway = COMPOSE["services"][name], COMPOSE["services"]["gateway"]
    members = [other for other, item in COMPOSE["services"].items() if name in item.get("networks", [])]

    audience = ["--audience", DEPLOYED.upstreams[name].audience]
    assert service["entrypoint"] == ["python", "-m", f"gateway.surfaces.demo.{name}", *audience]
    assert service["networks"] == [name]
    assert sorted(members) == sorted(["gateway", name])
    assert COMPOSE["networks"][name]["internal"] is True
    # Else a program on the host reaches the container by its address, seen on a Docker Engine on Linux.
    assert COMPOSE["networks"][name]["driver_opts"] == {"com.docker.network.bridge.gateway_mode_ipv4": "isolated"}
    assert "ports" not in service
    assert name in gateway["depends_on"]


@pytest.mark.parametrize("name", NAMES)
def test_each_upstream_is_configured_as_the_demo_has_it(name: str):
    assert DEPLOYED.upstreams[name] == DEMO[name]


def test_an_upstream_serves_where_the_gateway_looks_for_it_and_its_health_check_passes(tmp_path: Path):
    port = free_port()
    words = [word.replace("--port=8000", f"--port={port}") for word in COMPOSE["services"]["files"]["command"]]
    check = [word.replace(":8000", f":{port}") for word in COMPOSE["services"]["files"]["healthcheck"]["test"][2:]]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen([sys.executable, "-m", "gateway.surfaces.demo.files", *words], stdout=log, stderr=log)
    try:
        until(lambda: subprocess.run([sys.executable, *check], capture_output=True, check=False).returncode == 0)
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/mcp", b"{}", {"Host": "files:8000", "Content-Type": "application/json"}
        )
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=300)
        # The host is accepted; the token of the gateway is missing.
        with refused.value as answer:
            assert answer.code == 401
    finally:
        stop(server)


def test_no_service_uses_the_network_of_the_host_and_only_the_gateway_is_published_on_loopback():
    services: dict[str, Any] = COMPOSE["services"]

    assert {name: item.get("network_mode") for name, item in services.items() if "network_mode" in item} == {
        "opa": "none"
    }
    assert [name for name, item in services.items() if "ports" in item] == ["gateway"]
    assert services["gateway"]["ports"] == ["127.0.0.1:${OPAGATE_PORT:-8080}:8080"]
    assert (DEPLOYED.port, DEPLOYED.base_url) == (8080, "http://127.0.0.1:8080")


def test_the_configuration_of_the_service_loads_with_the_credentials_of_its_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    unit = (ROOT / "deploy/systemd/opagate.service").read_text("utf-8")
    loaded = re.findall(r"^LoadCredential=([\w-]+):", unit, re.MULTILINE)
    for name in loaded:
        (tmp_path / name).write_text("x" * 32, "utf-8")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))

    found = config.load(ROOT / "deploy/systemd/gateway.yaml")

    named = {path.name for path in found.keys.model_dump().values()} | {"tickets-token"}
    assert sorted(named) == sorted(loaded)
    assert f"StateDirectory={found.state.name}\n" in unit
    assert found.journal.path.is_relative_to(found.state)
    assert found.catalogue.lock.is_relative_to(found.state)


def test_only_one_service_builds_the_image():
    assert [name for name, item in COMPOSE["services"].items() if "build" in item] == ["gateway"]


def test_up_waits_for_each_service_that_listens_and_looks_every_second_at_first():
    checks = {name: item["healthcheck"] for name, item in COMPOSE["services"].items() if "healthcheck" in item}

    assert sorted(checks) == sorted(["gateway", *NAMES])
    assert {name: (item["start_period"], item["start_interval"]) for name, item in checks.items()} == dict.fromkeys(
        checks, ("30s", "1s")
    )
    assert re.search(r"^HEALTHCHECK ", DOCKERFILE, re.MULTILINE)


def test_the_page_names_how_containers_read_a_clone_with_a_strict_umask():
    folders = [
        mount.split(":")[0].removeprefix("./").split("/")[0]
        for item in COMPOSE["services"].values()
        for mount in item.get("volumes", [])
        if mount.startswith("./")
    ]

    assert f"chmod -R go+rX {' '.join(sorted(set(folders)))}" in (ROOT / "compose.yaml").read_text("utf-8")


def test_the_engine_waits_longer_than_the_gateway_takes_to_stop():
    grace = int(COMPOSE["services"]["gateway"]["stop_grace_period"].removesuffix("s"))

    assert grace > (DEPLOYED.drain_delay + DEPLOYED.limits.drain).total_seconds()


@pytest.mark.parametrize("name", sorted(COMPOSE["services"]))
def test_no_service_can_write_to_its_image_or_gain_privileges(name: str):
    service = COMPOSE["services"][name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_the_opa_of_compose_is_the_one_that_the_tests_use():
    version = re.search(r"open-policy-agent/opa v([0-9.]+)", (ROOT / "tools/opa/go.mod").read_text("utf-8"))

    assert version
    assert COMPOSE["services"]["opa"]["image"] == f"${{OPAGATE_OPA_IMAGE:-openpolicyagent/opa:{version[1]}-static}}"


def test_compose_builds_on_the_base_of_the_dockerfile_unless_told_otherwise():
    base = re.search(r"^ARG BASE=(.+)$", DOCKERFILE, re.MULTILINE)

    assert base
    assert COMPOSE["services"]["gateway"]["build"]["args"]["BASE"] == f"${{OPAGATE_BASE_IMAGE:-{base[1]}}}"


def test_two_gateways_have_the_configuration_of_one_and_share_what_two_have_to():
    one, two = (config_without(each, "store", "keys", "journal") for each in (DEPLOYED, REPLICATED))

    assert one == two
    assert find_server(REPLICATED).name == "the local socket/opagate"
    assert sorted(REPLICATED.keys.model_dump(exclude_none=True)) == ["fingerprints", "sealing", "sessions", "tokens"]


def config_without(settings: Configuration, *sections: str) -> dict[str, Any]:
    return settings.model_dump(exclude={*sections})


@pytest.mark.parametrize(("name", "other"), [("gateway", "state-2"), ("gateway-2", "state")])
def test_each_of_two_gateways_reads_the_journal_of_the_other(name: str, other: str):
    own = {"gateway": "state", "gateway-2": "state-2"}[name]
    mounts = {place.split(":")[1]: place for service in (COMPOSE, REPLICAS) for place in mounts_of(service, name)}
    peer = REPLICATED.journal.peers["other"]

    assert mounts["/state"] == f"{own}:/state"
    assert mounts["/peer"] == f"{other}:/peer:ro"
    assert REPLICATED.journal.path.relative_to("/state") == peer.path.relative_to("/peer")
    assert mounts["/run/keys"] == "keys:/run/keys:ro"
    assert mounts["/run/postgresql"] == "database:/run/postgresql"


def mounts_of(compose: dict[str, Any], name: str) -> list[str]:
    return compose["services"].get(name, {}).get("volumes", [])


def test_the_keys_of_two_gateways_are_made_once(tmp_path: Path):
    _, code = REPLICAS["services"]["keys"]["entrypoint"], REPLICAS["services"]["keys"]["command"][0]
    made: list[dict[str, bytes]] = []
    for _ in range(2):
        subprocess.run([sys.executable, "-c", code.replace("/state", str(tmp_path))], check=True, timeout=300)
        made.append({path.name: path.read_bytes() for path in tmp_path.iterdir()})
    keys = {f"keys.{path.name}": path for path in REPLICATED.keys.model_dump(exclude_none=True).values()}

    assert made[0] == made[1]
    assert sorted(made[0]) == sorted(path.name for path in keys.values())
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    found = {name: tmp_path / path.name for name, path in REPLICATED.keys.model_dump(exclude_none=True).items()}
    assert load_keys(config.parse("{}", base=tmp_path).with_changes(keys=found), begun=False).sealing.keys[0]


def test_only_the_balancer_of_two_gateways_is_published_and_the_database_has_no_network():
    services: dict[str, Any] = REPLICAS["services"]

    assert [name for name, item in services.items() if item.get("ports")] == ["balancer"]
    assert services["balancer"]["ports"] == ["127.0.0.1:${OPAGATE_PORT:-8080}:8080"]
    assert services["postgresql"]["network_mode"] == "none"
    assert [name for name in services if "database:/run/postgresql" in mounts_of(REPLICAS, name)] == [
        "gateway",
        "gateway-2",
    ]
    for name in ("balancer", "postgresql", "keys"):
        assert (services[name]["read_only"], services[name]["cap_drop"]) == (True, ["ALL"])


def test_the_balancer_of_two_gateways_asks_each_for_readiness_and_sends_nothing_twice(haproxy_path: Path):
    path = ROOT / "deploy/replicas/haproxy.cfg"
    text = path.read_text("utf-8")
    checked = subprocess.run([str(haproxy_path), "-c", "-f", str(path)], capture_output=True, timeout=60, check=False)

    assert checked.returncode == 0, checked.stderr
    assert re.findall(r"^  server \w+ ([\w-]+):8080$", text, re.MULTILINE) == ["gateway", "gateway-2"]
    assert "uri /readyz" in text
    assert re.findall(r"^  retry-on (.+)$", text, re.MULTILINE) == ["conn-failure"]
