from pathlib import Path

from gateway.identity import challenge
from gateway.identity.challenge import DPOP_ALGORITHMS
from tests.unit.identity.tokens import configuration, jwt_identity


def test_the_whole_gateway_is_described(tmp_path: Path):
    settings = configuration(
        tmp_path,
        jwt_identity(tmp_path / "k", required_scopes=["mcp:call"]),
        {"kind": "jwt", "issuer": "https://other.example", "required_scopes": ["mcp:call", "mcp:audit"]},
        {"kind": "spiffe", "trust_domain": "corp", "bundle": f"file:{tmp_path}/b"},
    )
    assert challenge.document(settings) == {
        "resource": "https://gateway.example/mcp",
        "authorization_servers": ["https://idp.example", "https://other.example"],
        "bearer_methods_supported": ["header"],
        "scopes_supported": ["mcp:audit", "mcp:call"],
        "resource_name": "opagate",
        "dpop_signing_alg_values_supported": list(DPOP_ALGORITHMS),
    }


def test_an_upstream_is_a_resource_of_its_own(tmp_path: Path):
    settings = configuration(tmp_path, jwt_identity(tmp_path / "k"))
    document = challenge.document(settings, "github")
    assert document is not None
    assert document["resource"] == "https://gateway.example/mcp/github"
    assert document["resource_name"] == "opagate: github"
    assert "scopes_supported" not in document


def test_an_unknown_upstream_has_no_metadata(tmp_path: Path):
    assert challenge.document(configuration(tmp_path, jwt_identity(tmp_path / "k")), "other") is None


def test_members_without_a_value_are_left_out(tmp_path: Path):
    document = challenge.document(configuration(tmp_path))
    assert document is not None
    assert "authorization_servers" not in document
    assert not challenge.protection(configuration(tmp_path)).bound_only


def test_binding_is_announced_as_it_is_demanded(tmp_path: Path):
    bound = jwt_identity(tmp_path / "k", require_bound=True)
    plain = {"kind": "jwt", "issuer": "https://other.example"}
    tls = {"certificate": "c.pem", "key": "k.pem", "client_ca": "ca.pem"}
    only = challenge.document(configuration(tmp_path, bound)) or {}
    assert only["dpop_bound_access_tokens_required"] is True
    mixed = challenge.document(configuration(tmp_path, bound, plain)) or {}
    assert "dpop_bound_access_tokens_required" not in mixed
    either = challenge.document(configuration(tmp_path, bound, tls=tls)) or {}
    assert "dpop_bound_access_tokens_required" not in either
    assert either["tls_client_certificate_bound_access_tokens"] is True
