"""The configuration of agentgateway with a JWT and its HTTP `ext_authz`, and the policy that OPA answers with.

It has no package in an index. Its binary is made from its source, and is measured where it is found.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Final

from joserfc import jwt
from joserfc.jwk import ECKey

VARIABLE: Final = "OPAGATE_BENCH_AGENTGATEWAY"
ABSENT: Final = (
    f"agentgateway was not measured: build it from its source, and set {VARIABLE} to its binary"
    " or put it at .tools/bench/agentgateway."
)
POLICY: Final = """\
package system

main if {
	input.agent == "bench"
	input.message.method == "tools/call"
	input.message.params.name == "echo"
}
"""
"""OPA answers `POST /` with 200 where `data.system.main` is defined, and with 404 elsewhere."""
UNDEFINED: Final = b"undefined_document"
"""A part of OPA's answer where it is undefined. agentgateway passes the answer on to its caller."""

_ISSUER: Final = "https://issuer.example"
_AUDIENCE: Final = "bench"
_KEY: Final = "bench"


def find_binary(tools: Path) -> Path | None:
    """Return the binary of agentgateway, or nothing where it is not installed."""
    path = Path(os.environ.get(VARIABLE) or tools / "bench/agentgateway")
    return path if path.is_file() else None


def make_key() -> ECKey:
    """Make the key of an issuer."""
    return ECKey.generate_key("P-256", {"kid": _KEY}, private=True)


def issue(key: ECKey) -> str:
    """Return a token of the benchmark's agent for two hours."""
    claims = {"iss": _ISSUER, "aud": _AUDIENCE, "sub": "bench", "exp": int(time.time()) + 7200}
    return jwt.encode({"alg": "ES256", "kid": _KEY}, claims, key, algorithms=["ES256"])


def configuration(port: int, upstream: str, opa_port: int, key: ECKey, own_ports: tuple[int, int, int]) -> str:
    """Return a configuration with one worker and with the defaults elsewhere. OPA is asked on each request."""
    admin, stats, readiness = (f"127.0.0.1:{each}" for each in own_ports)
    jwks = json.dumps({"keys": [key.as_dict(private=False) | {"alg": "ES256", "use": "sig"}]})
    asked = {"http": {"path": '"/"', "body": '{"agent": jwt.sub, "message": json(request.body)}'}}
    policies = {
        "jwtAuth": {"mode": "strict", "issuer": _ISSUER, "audiences": [_AUDIENCE], "jwks": jwks},
        "extAuthz": {"host": f"127.0.0.1:{opa_port}", "protocol": asked},
    }
    backend = {"mcp": {"targets": [{"name": "echo", "mcp": {"host": upstream}}]}}
    return json.dumps(
        {
            "config": {"adminAddr": admin, "statsAddr": stats, "readinessAddr": readiness, "workerThreads": 1},
            "binds": [{"port": port, "listeners": [{"routes": [{"policies": policies, "backends": [backend]}]}]}],
        }
    )
