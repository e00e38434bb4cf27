import pytest

from gateway.identity import claims


@pytest.mark.parametrize("name", ["spiffe://corp/agent/triage", "spiffe://corp.example/a", "spiffe://c-1_2.x/A.b-c_9"])
def test_a_workload_has_a_trust_domain_and_a_path(name: str):
    assert claims.workload(name) == name.split("/")[2]


def test_a_trust_domain_alone_is_no_workload():
    assert claims.trust_domain("spiffe://corp") == "corp"
    assert claims.workload("spiffe://corp") is None


@pytest.mark.parametrize(
    "name",
    [
        "",
        "corp/a",
        "https://corp/a",
        "SPIFFE://corp/a",
        "spiffe:///a",
        "spiffe://Corp/a",
        "spiffe://corp:8443/a",
        "spiffe://user@corp/a",
        "spiffe://corp/",
        "spiffe://corp/a/",
        "spiffe://corp//a",
        "spiffe://corp/./a",
        "spiffe://corp/a/..",
        "spiffe://corp/a%2fb",
        "spiffe://corp/a?b",
        "spiffe://corp/a#b",
        "spiffe://corp/a\n",
        "spiffe://corp/é",
        f"spiffe://{'c' * 256}/a",
        f"spiffe://corp/{'a' * 2048}",
    ],
)
def test_what_is_not_a_spiffe_id_has_no_trust_domain(name: str):
    assert claims.trust_domain(name) is None
    assert claims.workload(name) is None
