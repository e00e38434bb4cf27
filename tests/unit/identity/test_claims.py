from itertools import combinations
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.identity import claims
from gateway.identity.claim_maps import GENERIC, ClaimMap
from gateway.identity.outcomes import Confirmation, CredentialFault
from gateway.model.caller import Actor, AuthMethod, Principal, User

if TYPE_CHECKING:
    from gateway.model.wire import Json

NOW = 1_800_000_000.0
ISSUER = "https://idp.example"
TRUST = claims.Trust(frozenset({ISSUER, "https://sts.example"}), frozenset({"https://gateway.example/mcp"}))
RULES = claims.Rules(issuer=ISSUER, method=AuthMethod.JWT, trust=TRUST)
TIMES: "dict[str, Json]" = {"exp": NOW + 60, "iat": NOW}


def principal(**members: "Json") -> Principal:
    result = claims.principal(members, RULES, digest="d")
    assert isinstance(result, Principal), result
    return result


def fault(**members: "Json") -> CredentialFault:
    result = claims.principal(members, RULES, digest="d")
    assert isinstance(result, CredentialFault), result
    return result


def test_every_claim_is_in_exactly_one_declared_set():
    sets = (claims.VERIFIED - {"sub"}, claims.USED, claims.UNUSED, claims.FOREIGN, GENERIC.used)
    for one, other in combinations(sets, 2):
        assert not one & other


def test_the_names_of_undeclared_claims_are_reported():
    found = claims.find_unaccounted(
        {"iss": 1, "jti": 2, "email": 3, "nonce": 4, "x_new": 5, "a\nb": 6, "teams": 7}, ClaimMap(groups="teams")
    )
    assert found == ("x_new",)


def test_a_subject_alone_is_the_agent():
    assert principal(sub="agent-1") == Principal("agent-1", ISSUER, AuthMethod.JWT, token_id="d")


@pytest.mark.parametrize("name", ["client_id", "azp"])
def test_a_client_that_differs_from_the_subject_acts_for_it(name: str):
    found = principal(sub="alice", groups=["dev"], **{name: "agent-1"})
    assert (found.id, found.user, found.delegation) == ("agent-1", User("alice", ("dev",)), ())


def test_a_client_that_is_the_subject_acts_for_itself():
    found = principal(sub="agent-1", client_id="agent-1", azp="agent-1", groups=["dev"])
    assert (found.id, found.user) == ("agent-1", None)


@pytest.mark.parametrize("mark", [{"gty": "client-credentials"}, {"idtyp": "app"}])
def test_a_client_of_which_the_issuer_says_that_it_is_alone_has_no_user(mark: "dict[str, Json]"):
    found = principal(sub="agent-1@clients", azp="agent-1", **mark)
    assert (found.id, found.user) == ("agent-1", None)


def test_an_actor_is_the_agent_and_the_subject_its_user():
    found = principal(sub="alice", client_id="sts", act={"sub": "b", "iss": "https://sts.example", "act": {"sub": "a"}})
    assert found.id == "b"
    assert found.user == User("alice")
    assert found.delegation == (Actor("b", "https://sts.example"), Actor("a", None))


def test_clients_that_disagree_are_refused():
    assert fault(sub="alice", client_id="a", azp="b").code == "identity/claims"


@pytest.mark.parametrize("value", [7, "", None, ["a"], "spiffe://Corp/x"])
@pytest.mark.parametrize("name", ["sub", "client_id", "azp"])
def test_an_id_that_is_not_usable_is_refused(name: str, value: "Json"):
    assert fault(**{"sub": "alice", name: value}).code == "identity/claims"


def test_a_missing_subject_is_refused():
    assert fault(client_id="agent-1").code == "identity/claims"


def test_a_broken_chain_is_refused():
    assert fault(sub="alice", act={"sub": "a", "iss": "https://evil.example"}).code == "identity/delegation"
    assert fault(sub="alice", act=None).code == "identity/delegation"


def test_may_act_must_name_the_present_actor():
    assert principal(sub="alice", act={"sub": "a"}, may_act={"sub": "a"}).id == "a"
    assert principal(sub="alice", client_id="a", may_act={"sub": "a"}).id == "a"
    assert principal(sub="alice", act={"sub": "a"}, may_act={"sub": "a", "iss": ISSUER}).id == "a"
    assert principal(
        sub="alice", act={"sub": "a", "iss": "https://sts.example"}, may_act={"sub": "a", "iss": "https://sts.example"}
    )
    assert fault(sub="alice", act={"sub": "a"}, may_act={"sub": "b"}).code == "identity/delegation"
    assert fault(sub="alice", act={"sub": "b", "act": {"sub": "a"}}, may_act={"sub": "a"}).code == "identity/delegation"
    assert (
        fault(sub="alice", act={"sub": "a"}, may_act={"sub": "a", "iss": "https://sts.example"}).code
        == "identity/delegation"
    )
    assert fault(sub="alice", may_act={"sub": "a"}).code == "identity/delegation"
    assert fault(sub="alice", may_act=None).code == "identity/delegation"


@pytest.mark.parametrize(
    ("members", "scopes"),
    [
        ({}, set[str]()),
        ({"scope": "a b"}, {"a", "b"}),
        ({"scope": ""}, set[str]()),
        ({"scope": "a  b "}, {"a", "b"}),
        ({"scp": "a b"}, {"a", "b"}),
        ({"scp": ["a", "b"]}, {"a", "b"}),
        ({"scope": "a", "scp": ["b"]}, {"a", "b"}),
        ({"scp": []}, set[str]()),
    ],
)
def test_scopes_are_read_from_scope_and_scp(members: "dict[str, Json]", scopes: set[str]):
    assert principal(sub="a", **members).scopes == scopes


@pytest.mark.parametrize(
    "members",
    [
        {"scope": 7},
        {"scope": None},
        {"scope": ["a"]},
        {"scope": 'a"b'},
        {"scope": "a\tb"},
        {"scope": "a\\b"},
        {"scope": "a" * 257},
        {"scp": 7},
        {"scp": ["a", 7]},
        {"scp": ["a b"]},
        {"scp": [""]},
        {"scp": {"a": 1}},
    ],
)
def test_malformed_scopes_are_refused(members: "dict[str, Json]"):
    assert fault(sub="a", **members).code == "identity/claims"


@pytest.mark.parametrize("groups", [7, None, ["a", 7], {"a": 1}, [""]])
def test_malformed_groups_are_refused(groups: "Json"):
    assert fault(sub="alice", client_id="a", groups=groups).code == "identity/claims"


def test_groups_come_from_the_configured_claim():
    rules = claims.Rules(issuer=ISSUER, method=AuthMethod.JWT, trust=TRUST, map=ClaimMap(groups="teams"))
    found = claims.principal({"sub": "alice", "azp": "a", "teams": "one", "groups": ["two"]}, rules, digest="d")
    assert isinstance(found, Principal)
    assert found.user == User("alice", ("one",))


def test_the_token_id_is_its_jti_or_else_its_digest():
    assert principal(sub="a", jti="t-1").token_id == "t-1"
    assert principal(sub="a").token_id == "d"
    for jti in (7, "", None, "a\nb", ["t"]):
        assert fault(sub="a", jti=jti).code == "identity/claims"


@pytest.mark.parametrize("name", ["nonce", "at_hash", "c_hash", "s_hash", "events", "toe", "htm", "htu", "ath"])
def test_the_mark_of_another_kind_of_token_refuses_it(name: str):
    assert fault(sub="a", **{name: "x"}).code == "identity/claims"


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [("typ", ["Bearer", "DPoP"], ["ID", "Refresh", "Offline", "", 7]), ("token_use", ["access"], ["id", None])],
)
def test_the_kind_that_an_issuer_writes_into_the_claims_must_be_access(
    name: str, good: "list[Json]", bad: "list[Json]"
):
    for value in good:
        assert principal(sub="a", **{name: value}).id == "a"
    for value in bad:
        assert fault(sub="a", **{name: value}).code == "identity/claims"


def test_a_token_is_valid_within_its_times_and_the_leeway():
    for members in (TIMES, {**TIMES, "nbf": NOW}, {**TIMES, "nbf": NOW + 10}, {"exp": NOW - 9, "iat": NOW + 10}):
        assert claims.expiry(members, RULES, NOW) == members["exp"]


@pytest.mark.parametrize(
    "members",
    [{**TIMES, "exp": NOW - 10}, {**TIMES, "nbf": NOW + 11}, {**TIMES, "iat": NOW + 11}, {**TIMES, "exp": -1}],
)
def test_a_token_outside_its_times_is_refused(members: "dict[str, Json]"):
    result = claims.expiry(members, RULES, NOW)
    assert isinstance(result, CredentialFault)
    assert result.code == "identity/expired"


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"iat": NOW},
        {"exp": NOW + 60},
        {**TIMES, "exp": None},
        {**TIMES, "exp": "1800000060"},
        {**TIMES, "exp": True},
        {**TIMES, "exp": float("inf")},
        {**TIMES, "exp": 10**400},
        {**TIMES, "nbf": "0"},
        {**TIMES, "iat": [NOW]},
    ],
)
def test_times_that_are_missing_or_none_are_refused(members: "dict[str, Json]"):
    result = claims.expiry(members, RULES, NOW)
    assert isinstance(result, CredentialFault)
    assert result.code == "identity/claims"


def test_iat_is_optional_where_the_standard_says_so():
    rules = claims.Rules(issuer="spiffe://corp", method=AuthMethod.SPIFFE_JWT, trust=TRUST, issued_at=False)
    assert claims.expiry({"exp": NOW + 60}, rules, NOW) == NOW + 60


def test_audiences_are_a_text_or_a_list():
    assert claims.audiences({"aud": "a"}) == {"a"}
    assert claims.audiences({"aud": ["a", "b"]}) == {"a", "b"}
    for aud in ([], None, 7, ["a", 7], "", [""]):
        result = claims.audiences({"aud": aud})
        assert isinstance(result, CredentialFault)
        assert result.code == "identity/claims"
    assert isinstance(claims.audiences({}), CredentialFault)


def test_a_confirmation_is_read():
    assert claims.confirmation({}) is None
    assert claims.confirmation({"cnf": {"jkt": "a"}}) == Confirmation(jkt="a")
    assert claims.confirmation({"cnf": {"x5t#S256": "b"}}) == Confirmation(x5t="b")
    assert claims.confirmation({"cnf": {"jkt": "a", "x5t#S256": "b"}}) == Confirmation("a", "b")


@pytest.mark.parametrize("cnf", [None, {}, "a", [], {"jwk": {}}, {"kid": "a"}, {"jkt": "a", "x": "b"}, {"jku": "a"}])
def test_a_binding_that_cannot_be_checked_refuses_the_token(cnf: "Json"):
    result = claims.confirmation({"cnf": cnf})
    assert isinstance(result, CredentialFault)
    assert result.code == "identity/proof"


@pytest.mark.parametrize("cnf", [{"jkt": 7}, {"jkt": ""}, {"jkt": None}, {"jkt": "a", "x5t#S256": 7}])
def test_a_malformed_confirmation_is_refused(cnf: "Json"):
    result = claims.confirmation({"cnf": cnf})
    assert isinstance(result, CredentialFault)
    assert result.code == "identity/claims"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["sub", "iss", "aud", "act"]), inner),
    max_leaves=8,
)
NAMES = st.sampled_from(sorted(claims.VERIFIED | claims.USED | {"groups", "x"}))


@settings(max_examples=166)
@given(st.dictionaries(NAMES, VALUES, max_size=6))
def test_whatever_an_issuer_signs_is_a_principal_that_can_be_used_or_a_fault(members: "dict[str, Json]"):
    result = claims.principal({"sub": "s", **members}, RULES, digest="d")
    if isinstance(result, Principal):
        assert len(result.key) == 32
        assert result.id.isprintable()
        assert len(result.delegation) <= claims.MAX_DEPTH
    assert isinstance(claims.audiences(members), CredentialFault | frozenset)
    assert isinstance(claims.expiry(members, RULES, NOW), CredentialFault | float)
    assert isinstance(claims.confirmation(members), CredentialFault | Confirmation | None)
    assert all(name in members for name in claims.find_unaccounted(members, GENERIC))
