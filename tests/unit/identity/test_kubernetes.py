"""Service accounts of Kubernetes: the keys of a cluster are at its API server, behind its own authority and a pod's token."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import ValidationError

from gateway.identity.keys import LoadError, UrlSource
from gateway.model.caller import Principal
from gateway.model.errors import IdentityUnavailable
from tests.e2e.certificates import server, written
from tests.requirements import requirement
from tests.unit.identity.tokens import MCP, Authority, Signer, accepted, bearer, configuration, refused, running
from tests.unit.identity.web import Answer, Site, serving

CLUSTER = "https://kubernetes.default.svc.cluster.local"
ACCOUNT = "system:serviceaccount:agents:triage"
PATH = "/openid/v1/jwks"


@dataclass
class Cluster:
    """An API server, with the files that it gives to the gateway's pod."""

    site: Site
    ca: Path
    token: Path
    keys: Signer

    def identity(self, **changes: object) -> dict[str, object]:
        found = {"kind": "jwt", "issuer": CLUSTER, "jwks": f"{self.site.url}{PATH}", "ca": str(self.ca)}
        return {**found, "jwks_token": str(self.token), **changes}

    def account_token(self, **changes: object) -> str:
        """A projected token, with the claims that Kubernetes writes."""
        now = int(time.time())
        pod = {"name": "triage-7d4b9", "uid": "3b1a6c9e-58b0-4f7a-9f0f-0c8f7d2a9f11"}
        place = {"namespace": "agents", "node": {"name": "n1", "uid": "u"}, "pod": pod, "warnafter": now + 3000}
        claims = {
            "aud": [MCP],
            "sub": ACCOUNT,
            "kubernetes.io": place,
            "nbf": now - 5,
            "iat": now - 5,
            "exp": now + 600,
        }
        return self.keys.sign(json.dumps(self.keys.claims(**{**claims, **changes})).encode())


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncGenerator[Cluster]:
    authority, keys = Authority(now=time.time()), Signer(issuer=CLUSTER)
    pair, token = server(authority, tmp_path), tmp_path / "token"
    token.write_text("pods.own.token\n", "ascii")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    async with serving(context) as site:
        site.demanded, site.answers[PATH] = "Bearer pods.own.token", Answer(keys.jwks())
        yield Cluster(site, written(authority, tmp_path, "ca"), token, keys)


async def identified(cluster: Cluster, tmp_path: Path, token: str, **changes: object) -> object:
    settings = configuration(tmp_path, cluster.identity(**changes))
    async with running(settings, time.time) as identities:
        return await identities.identify(bearer(token), "10.0.0.1")


@requirement("identity/kubernetes")
async def test_a_pod_is_its_service_account(cluster: Cluster, tmp_path: Path):
    found = await identified(cluster, tmp_path, cluster.account_token())
    assert isinstance(found, Principal)
    assert (accepted(found).id, found.user, found.issuer) == (ACCOUNT, None, CLUSTER)


@requirement("identity/kubernetes")
async def test_a_token_for_the_api_server_or_of_another_cluster_is_refused(cluster: Cluster, tmp_path: Path):
    for_server = await identified(cluster, tmp_path, cluster.account_token(aud=[CLUSTER]))
    refused(for_server, "identity/audience")  # type: ignore[arg-type]
    cluster.keys = Signer(issuer=CLUSTER)
    refused(await identified(cluster, tmp_path, cluster.account_token()), "identity/signature")  # type: ignore[arg-type]


@requirement("identity/kubernetes")
@pytest.mark.parametrize("missing", ["ca", "jwks_token"])
async def test_without_the_authority_or_the_token_there_are_no_keys(cluster: Cluster, tmp_path: Path, missing: str):
    with pytest.raises(IdentityUnavailable):
        await identified(cluster, tmp_path, cluster.account_token(), **{missing: None})


@requirement("identity/kubernetes")
async def test_a_renewed_token_is_read_at_the_next_look_and_goes_to_no_other_server(cluster: Cluster):
    source = UrlSource(f"{cluster.site.url}{PATH}", cluster.ca, cluster.token)
    assert await source.load() == cluster.keys.jwks()
    cluster.token.write_text("renewed", "ascii")
    cluster.site.demanded = "Bearer renewed"
    assert await source.load() == cluster.keys.jwks()
    cluster.site.answers[PATH] = Answer(status=302, headers={"location": "/elsewhere"})
    with pytest.raises(LoadError, match="answered 302"):
        await source.load()
    assert cluster.site.asked == [PATH] * 3
    await source.aclose()


@requirement("identity/kubernetes")
@pytest.mark.parametrize("content", [b"", b"two words", b"with\r\nx: y", b"\xff", b"x" * 20_000])
async def test_a_file_that_holds_no_single_token_sends_nothing(cluster: Cluster, content: bytes):
    cluster.token.write_bytes(content)
    source = UrlSource(f"{cluster.site.url}{PATH}", cluster.ca, cluster.token)
    with pytest.raises(LoadError, match="has no bearer token, or more than one"):
        await source.load()
    assert cluster.site.asked == []
    await source.aclose()


@requirement("identity/kubernetes")
@pytest.mark.parametrize("jwks", [None, "file:keys.json", "http://127.0.0.1:1/keys"])
def test_a_token_needs_a_named_key_server_over_tls(tmp_path: Path, jwks: str | None):
    with pytest.raises(ValidationError, match="jwks_token goes to the key server alone"):
        configuration(tmp_path, {"kind": "jwt", "issuer": CLUSTER, "jwks": jwks, "jwks_token": "token"})
