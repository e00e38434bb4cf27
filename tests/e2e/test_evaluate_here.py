"""A bundle that OPA fetches, verifies and keeps, evaluated by the gateway: as record, metrics, log and `/readyz` show it."""

from __future__ import annotations

import functools
import http.server
import json
import re
import subprocess
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.policy.authoring import ENTRIES
from tests.e2e.conftest import policy
from tests.e2e.faults import config, problems
from tests.e2e.running import Opa, mortal_gateway
from tests.e2e.wire import Caller, entries, metric, until, verified
from tests.gateway_process import free_port
from tests.requirements import requirement
from tests.servers.serving import ServerProcess

GRANTS = "gateway/grants/data.yaml"
CONFIGURATION = """
services: {{files: {{url: "http://127.0.0.1:{port}"}}}}
keys: {{signer: {{algorithm: ES256, key: {key}}}}}
bundles:
  main:
    service: files
    resource: bundle.tar.gz
    persist: true
    signing: {{keyid: signer}}
    polling: {{min_delay_seconds: 3600, max_delay_seconds: 3600}}
persistence_directory: "{kept}"
"""


def _keys(folder: Path) -> Path:
    """Write a pair of keys. Return the public one."""
    made, pem = ec.generate_private_key(ec.SECP256R1()), serialization.Encoding.PEM
    private = made.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "signing.pem").write_bytes(private)
    public = folder / "bundle-key.pem"
    public.write_bytes(made.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    return public


def _build(opa: Path, folder: Path, rego: Path, target: Path) -> None:
    words = ["build", "-b", str(rego), "-t", "plan", "--revision", "one", "--ignore", "*_test.rego"]
    words += ["--signing-key", str(folder / "signing.pem"), "--signing-alg", "ES256", "-o", str(target)]
    words += [word for entry in ENTRIES for word in ("-e", f"gateway/{entry}/result")]
    subprocess.run([opa, *words], check=True, capture_output=True)


@contextmanager
def _served(folder: Path) -> Generator[int]:
    """Serve a folder over HTTP. Give the port."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the class above
        """Print nothing."""


@requirement("operations/evaluate-here")
@pytest.mark.opa
def test_the_gateway_decides_by_the_bundle_that_opa_keeps_and_tells_of_a_difference(
    opa_path: Path, echo_server: ServerProcess, tmp_path: Path
):
    served, kept = tmp_path / "served", tmp_path / "opa-state"
    served.mkdir()
    rego, key = policy(tmp_path), _keys(tmp_path)
    _build(opa_path, tmp_path, rego, served / "bundle.tar.gz")
    file = kept / "bundles/main/bundle.tar.gz"
    with _served(served) as port:
        opa = Opa(opa_path, rego, tmp_path, CONFIGURATION.format(port=port, key=json.dumps(key.read_text()), kept=kept))
        opa.start()
        try:
            until(file.exists)
            engine = f"kind: opa, url: 'unix://{opa.socket}', deadline: 5s, evaluate: here, bundle: '{file}'"
            engine = f"{{{engine}, bundle_key: '{key}', check_every: 1}}"
            settings = re.sub(r", path: [^,}]+", "", config(echo_server, rego, engine=engine))
            with mortal_gateway(settings, tmp_path, port=free_port()) as gateway:
                assert Caller(gateway).call("echo", text="a").text == "a"
                assert entries(tmp_path, "call")[-1]["policy"]["revision"] == "one"
                assert metric(gateway, "opagate_policy_checks_total", result="agreed") >= 1
                assert not problems(gateway)

                (rego / GRANTS).write_text("upstreams: {}\n", "utf-8")
                _build(opa_path, tmp_path, rego, tmp_path / "other.tar.gz")
                (tmp_path / "other.tar.gz").replace(file)
                until(lambda: "tool/not-granted" in str(Caller(gateway).call("echo", text="b")))
                until(lambda: "different answers" in problems(gateway).get("policy", ""))
                assert metric(gateway, "opagate_policy_checks_total", result="differed") == 1
                assert "policy.differed" in gateway.printed()
                until(lambda: any(entry.get("differed") for entry in entries(tmp_path, "policy")))
                assert Caller(gateway).call("echo", text="c").text == "c"
                gateway.process.terminate()
                gateway.process.wait()
        finally:
            opa.kill()
    assert verified(tmp_path).ok
