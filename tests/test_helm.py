"""The chart under deploy/helm renders objects that Kubernetes takes, a configuration that the gateway takes, and no secret."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest
import yaml

from gateway import config
from tests.machine import MISSING

ROOT: Final = Path(__file__).resolve().parent.parent
CHART: Final = ROOT / "deploy/helm/opagate"
EXAMPLE: Final = ROOT / "deploy/helm/example-values.yaml"
REPLICAS: Final = ROOT / "deploy/helm/replicas-values.yaml"
HELM: Final = Path(os.environ.get("OPAGATE_TOOLS") or ROOT / ".tools") / "helm"
VERSIONS: Final = ("1.29.0", "1.37.0")

pytestmark = pytest.mark.skipif(not HELM.exists(), reason=f"{MISSING}: helm, which make tools builds with Go")


def helm(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(HELM), *words], capture_output=True, text=True, timeout=120, check=False)


def render(*settings: str, version: str = "1.31.0", values: tuple[Path, ...] = (EXAMPLE,)) -> list[dict[str, Any]]:
    done = helm(
        *("template", "gw", str(CHART), "--namespace", "tools", "--kube-version", version),
        *(word for path in values for word in ("--values", str(path))),
        *(word for setting in settings for word in ("--set", setting)),
    )
    assert done.returncode == 0, done.stderr
    return [item for item in yaml.safe_load_all(done.stdout) if item]


def one(objects: list[dict[str, Any]], kind: str, name: str = "gw") -> dict[str, Any]:
    (found,) = (item for item in objects if (item["kind"], item["metadata"]["name"]) == (kind, name))
    return found


def containers(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    pod = one(objects, "StatefulSet")["spec"]["template"]["spec"]
    return {item["name"]: item for item in (*pod.get("initContainers", ()), *pod["containers"])}


EVERYWHERE: Final = (
    "opa.enabled=false,secrets.keys=,secrets.tls=,replicas=1",
    "serviceMonitor.enabled=true",
    "networkPolicy.enabled=false",
)


def test_helm_finds_nothing_to_complain_of():
    done = helm("lint", "--strict", str(CHART), "--values", str(EXAMPLE))

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("settings", [(), *((item,) for item in EVERYWHERE)], ids=str)
def test_kubernetes_takes_each_object(settings: tuple[str, ...], version: str):
    objects = render(*settings, version=version)
    known = [item for item in objects if item["apiVersion"] != "monitoring.coreos.com/v1"]

    for item in known:
        kubernetes_validate.validate(item, version.rpartition(".")[0], strict=True)
    assert {"StatefulSet", "Service", "ConfigMap", "ServiceAccount", "PodDisruptionBudget"} <= {
        item["kind"] for item in known
    }


def test_a_misspelt_field_of_kubernetes_would_be_found():
    broken = copy.deepcopy(one(render(), "StatefulSet"))
    broken["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, "1.37", strict=True)


@pytest.mark.parametrize(
    "setting",
    [
        "secret.keys=x",
        "opa.enable=false",
        "publicUrl=gateway",
        "image.digest=sha256:1",
        "config.state=/x",
        "grants.upstream=x",
    ],
)
def test_a_misspelt_value_is_refused(setting: str):
    done = helm("template", "gw", str(CHART), "--values", str(EXAMPLE), "--set", setting, "--kube-version", "1.31.0")

    assert done.returncode != 0


@pytest.mark.parametrize("settings", [(), ("opa.enabled=false",), ("secrets.keys=,secrets.tls=",)], ids=str)
def test_the_gateway_takes_the_configuration_that_is_rendered(
    settings: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TICKETS_TOKEN", "x" * 32)
    data = one(render(*settings), "ConfigMap")["data"]
    (tmp_path / "grants.yaml").write_text(data["grants.yaml"], "utf-8")

    found = config.parse(data["gateway.yaml"], base=tmp_path)

    wanted = yaml.safe_load(EXAMPLE.read_text("utf-8"))
    assert yaml.safe_load(data["gateway.yaml"])["upstreams"] == wanted["config"]["upstreams"]
    assert yaml.safe_load(data["grants.yaml"]) == wanted["grants"]
    assert found.upstreams["tickets"].tools["read_*"].egress is False
    assert found.drain_delay == timedelta(seconds=20)


def test_pods_with_a_database_have_one_sealing_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TICKETS_TOKEN", "x" * 32)
    monkeypatch.setenv("OPAGATE_STORE", "postgresql://opagate@db.example/opagate?sslmode=verify-full")
    objects = render(values=(EXAMPLE, REPLICAS))
    data = one(objects, "ConfigMap")["data"]

    found = config.parse(data["gateway.yaml"], base=tmp_path)

    assert one(objects, "StatefulSet")["spec"]["replicas"] == 3
    assert found.keys.sealing == Path("/run/keys/sealing")
    assert found.keys.chain != found.keys.sealing
    ports = [port["port"] for rule in one(objects, "NetworkPolicy")["spec"]["egress"] for port in rule["ports"]]
    assert {443, 5432} <= set(ports)
    kubernetes_validate.validate(one(objects, "NetworkPolicy"), "1.37", strict=True)


def test_all_that_a_container_reads_or_writes_is_mounted():
    objects = render()
    pod = one(objects, "StatefulSet")["spec"]
    volumes = {item["name"] for item in pod["template"]["spec"]["volumes"]} | {
        item["metadata"]["name"] for item in pod["volumeClaimTemplates"]
    }
    mounts = {
        name: {mount["mountPath"] for mount in item["volumeMounts"]} for name, item in containers(objects).items()
    }

    assert {mount["name"] for item in containers(objects).values() for mount in item["volumeMounts"]} == volumes
    assert {"/state", "/run/opa", "/policy", "/run/keys", "/run/tls", "/etc/opagate", "/tmp"} == mounts["gateway"]
    assert {"/run/opa", "/policy"} == mounts["opa"]


@pytest.mark.parametrize("name", ["policy", "opa", "gateway"])
def test_no_container_can_write_to_its_image_or_gain_privileges(name: str):
    objects = render()
    pod = one(objects, "StatefulSet")["spec"]["template"]["spec"]

    assert containers(objects)[name]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert all(item["resources"]["limits"]["memory"] for item in containers(objects).values())


def test_a_pod_is_out_of_the_service_before_it_stops_to_listen_and_is_waited_for():
    objects = render()
    pod = one(objects, "StatefulSet")["spec"]["template"]["spec"]
    probe = containers(objects)["gateway"]["readinessProbe"]
    limits = yaml.safe_load(one(objects, "ConfigMap")["data"]["gateway.yaml"])["limits"]
    delay, drain = (int(limits[name].removesuffix("s")) for name in ("drain_delay", "drain"))

    assert delay >= 2 * probe["periodSeconds"] * probe["failureThreshold"]
    assert pod["terminationGracePeriodSeconds"] > delay + drain + 15


def test_opa_starts_before_the_gateway_and_ends_after_it():
    sidecar = containers(render())["opa"]

    assert sidecar["restartPolicy"] == "Always"
    assert "--addr=unix:///run/opa/opa.sock" in sidecar["args"]


def test_the_policy_that_a_pod_builds_holds_the_grants_of_the_values(tmp_path: Path):
    objects = render()
    for name, text in one(objects, "ConfigMap")["data"].items():
        (tmp_path / name).write_text(text, "utf-8")
    places = {"/policy": tmp_path / "policy", "/opagate/rego": ROOT / "rego", "/etc/opagate": tmp_path}
    words: list[str] = containers(objects)["policy"]["args"]
    for inside, outside in places.items():
        words = [word.replace(inside, str(outside)) for word in words]
    (tmp_path / "policy").mkdir()

    done = subprocess.run(
        [sys.executable, "-m", "gateway", *words],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    built = "".join(path.read_text("utf-8") for path in (tmp_path / "policy/built").rglob("*data*"))
    assert "triage-reads-tickets" in built
    assert "development-reads-files" not in built


def test_no_value_is_a_secret_and_the_chart_makes_none():
    done = helm("template", "gw", str(CHART), "--values", str(EXAMPLE), "--kube-version", "1.31.0")

    assert "kind: Secret\n" not in done.stdout
    assert "${TICKETS_TOKEN}" in done.stdout


def test_only_named_callers_reach_the_pods_and_these_reach_dns_and_https_alone():
    policy = one(render(), "NetworkPolicy")["spec"]

    (ingress,) = policy["ingress"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert [item["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for item in ingress["from"]] == [
        "agents",
        "monitoring",
    ]
    assert {port["port"] for rule in policy["egress"] for port in rule["ports"]} == {53, 443}


def test_prometheus_scrapes_each_pod_once():
    objects = render()
    monitor = one(objects, "ServiceMonitor")["spec"]
    chosen = [
        item["metadata"]["name"]
        for item in objects
        if item["kind"] == "Service"
        and monitor["selector"]["matchLabels"].items() <= item["metadata"]["labels"].items()
    ]

    assert chosen == ["gw"]
    assert monitor["endpoints"][0]["path"] == "/metrics"


def test_the_opa_of_the_chart_is_that_of_compose():
    values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))["opa"]["image"]
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))["services"]["opa"]["image"]

    named = compose.removeprefix("${OPAGATE_OPA_IMAGE:-").removesuffix("}")
    assert named.partition("@")[0] == f"{values['repository']}:{values['tag']}"
