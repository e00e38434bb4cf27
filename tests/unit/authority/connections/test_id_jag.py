"""ID-JAG: the login of a user becomes an assertion, and the assertion a token. Each fault of an assertion has its code. Acceptance test 26."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import structs

from gateway.authority.brokers.id_jag import PRESENTED, AssertionBroker, PresentedAssertions
from gateway.authority.brokers.subjects import CallerSubjects, ConnectedUsers, LoginSubjects, Subjects
from gateway.authority.connections.server import Addresses, AuthorizationServer, ServerTerms
from gateway.authority.model import BrokerRefusal, Issued, Proof
from gateway.config.brokers import ExchangeBroker, ExchangeCredential
from gateway.wire.oauth_client import ClientProof
from tests.unit.authority.brokers.asking import issued, jwt_text, lease_of, prepared, refused, values_shown
from tests.unit.authority.connections import connecting
from tests.unit.authority.connections.connecting import BASE, SCOPES, Connecting
from tests.unit.authority.connections.server import FakeServer, fake_server
from tests.unit.live import live_values

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from gateway.authority.model import LeaseRequest


@dataclass
class Asserting(Connecting):
    """A gateway whose users log in at `idp`, which vouches for them at `at`. `audience` is the upstream's name there."""

    subject: str = "id_token"
    audience: str | None = None

    def build(self) -> None:
        super().build()
        given = {
            "kind": "exchange",
            "issuer": self.at.url,
            "client_id": "gw-there",
            "client_auth": {"client_secret": "${GATEWAY_SECRET}"},
            "timeout": "2s",
            "id_jag": {
                "idp": self.idp.url,
                "client": {"id": "gw", "auth": {"client_secret": "${GATEWAY_SECRET}"}},
                "subject": self.subject,
            },
            **self.settings,
        }
        parsed = ExchangeBroker.model_validate(given)
        assert parsed.id_jag is not None
        idp = self.client(self.idp.url)
        terms = ServerTerms(self.idp.url, parsed.id_jag.client, SCOPES, login=parsed.id_jag.scopes)
        addresses = Addresses(f"{BASE}/oauth/callback/crm", f"{BASE}/.well-known/oauth-client/crm")
        server = AuthorizationServer(
            "crm", terms, idp, self.store, addresses=addresses, clock=self.now, live=live_values()
        )
        self.servers["crm"] = server
        users = ConnectedUsers(server, self.connections)
        subjects: Subjects = LoginSubjects(
            users, self.now, shows="id_token" if self.subject == "id_token" else "refresh_token"
        )
        if self.subject == "caller_token":
            subjects = CallerSubjects(self.idp.url, ClientProof("gw", parsed.id_jag.client.auth, self.now))
        credential = ExchangeCredential.model_validate({"kind": "exchange", "broker": "crm", "audience": self.audience})
        self.broker = AssertionBroker(
            "crm",
            parsed,
            {"crm": credential},
            idp=idp,
            client=self.client(self.at.url),
            subjects=subjects,
            presented=PresentedAssertions(self.records.of(PRESENTED)),
            clock=self.now,
        )

    def server(self) -> FakeServer:
        return self.idp


@pytest.fixture
async def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Asserting]:
    monkeypatch.setenv("GATEWAY_SECRET", "s3cret-of-the-gateway")
    async with fake_server() as at, fake_server() as idp:
        made = Asserting(tmp_path, at, idp)
        yield made
        await made.aclose()


async def lend(there: Asserting, request: LeaseRequest) -> Issued | BrokerRefusal:
    before = await there.broker.prepare(request)
    return before if isinstance(before, BrokerRefusal) else await there.broker.issue(request, before)


def grants(server: FakeServer) -> list[str]:
    return [form["grant_type"][0].rpartition(":")[2] for form in server.forms("/token")]


async def test_a_login_becomes_an_assertion_and_the_assertion_a_token(there: Asserting):
    await there.connect()
    request = there.request()
    found = issued(await lend(there, request))

    assert (grants(there.idp)[-2:], grants(there.at)) == (["refresh_token", "token-exchange"], ["jwt-bearer"])
    (exchange,) = [form for form in there.idp.forms("/token") if "audience" in form]
    assert exchange["audience"] == [there.at.url]
    assert (exchange["resource"], exchange["scope"]) == (["https://crm.example"], ["crm.read"])
    assert exchange["subject_token_type"] == ["urn:ietf:params:oauth:token-type:id_token"]
    assert exchange["requested_token_type"] == ["urn:ietf:params:oauth:token-type:id-jag"]
    assert (found.scope, found.credential.value in there.at.live) == (("crm.read",), True)
    secrets = [*there.idp.secrets, *there.at.secrets]
    assert values_shown(secrets, prepared(found.handle), there.entries, there.broker) == []
    proof = await there.broker.end(lease_of(request, found.handle), found.credential)
    assert isinstance(proof, Proof)
    assert (proof.kind, there.at.live) == ("introspection", {})


async def test_the_user_agrees_to_the_scopes_of_the_system_and_logs_in_with_those_of_a_login(there: Asserting):
    connection = await there.connect()

    assert there.idp.families[-1].scopes == {"openid", "offline_access"}
    assert (connection.scopes, connection.issuer) == (SCOPES, there.idp.url)
    refused(await lend(there, there.request(scope=("crm.delete",))), "credential/scope")


@pytest.mark.parametrize("subject", ["id_token", "refresh_token"])
async def test_each_lease_has_an_assertion_of_its_own(there: Asserting, subject: str):
    there.subject = subject
    there.build()
    await there.connect()
    for number in range(3):
        issued(await lend(there, there.request(number)))

    assert len(set(there.at.presented)) == 3
    shown = {form["subject_token_type"][0] for form in there.idp.forms("/token") if "audience" in form}
    assert shown == {f"urn:ietf:params:oauth:token-type:{subject}"}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"header": {"typ": "JWT"}}, "credential/assertion-type"),
        ({"answer": {"refresh_token": "refresh-1"}}, "credential/assertion-malformed"),
        ({"assertion": {"aud": "https://other.example"}}, "credential/assertion-audience"),
        ({"assertion": {"client_id": "another"}}, "credential/assertion-client"),
        ({"assertion": {"sub": "mallory"}}, "credential/assertion-user"),
    ],
)
async def test_a_fault_of_an_assertion_has_its_code_and_the_assertion_goes_nowhere(
    there: Asserting, changes: dict[str, Any], code: str
):
    await there.connect()
    there.idp.exchanged = changes.get("answer", {})
    there.idp.header, there.idp.assertion = changes.get("header", {}), changes.get("assertion", {})
    found = refused(await lend(there, there.request()), code)

    assert (found.is_certain, there.at.forms("/token")) == (True, [])
    assert values_shown([*there.idp.secrets, "mallory", "other.example"], found) == []


async def test_an_assertion_that_comes_a_second_time_is_refused(there: Asserting):
    await there.connect()
    there.idp.assertion = {"jti": "the-same"}
    issued(await lend(there, there.request(1)))
    refused(await lend(there, there.request(2)), "credential/assertion-replayed")
    assert len(there.at.presented) == 1


@pytest.mark.parametrize(
    "claims",
    [{"aud": "https://mail.example"}, {"scope": "crm.read crm.write"}, {"iss": "https://other.example"}, {"aud": None}],
)
async def test_a_wider_token_is_revoked_and_refused(there: Asserting, claims: dict[str, Any]):
    await there.connect()
    there.at.claims = claims
    found = refused(await lend(there, there.request()), "credential/wider")

    assert "it was revoked" in found.reason.message
    assert there.at.live == {}


async def test_a_narrower_assertion_gives_a_narrower_token(there: Asserting):
    await there.connect()
    there.idp.assertion = {"scope": "crm.read"}
    found = issued(await lend(there, there.request(scope=("crm.read", "crm.write"))))

    assert found.scope == ("crm.read",)
    assert there.at.forms("/token")[0]["scope"] == ["crm.read"]


async def test_the_name_of_the_upstream_at_its_server_may_be_another(there: Asserting):
    there.audience = "crm"
    there.build()
    await there.connect()
    there.at.claims = {"aud": "crm"}
    issued(await lend(there, there.request(1)))
    there.at.claims = {"aud": "https://crm.example"}
    refused(await lend(there, there.request(2)), "credential/wider")


async def test_metadata_that_names_no_such_profile_is_believed(there: Asserting):
    await there.connect()
    there.at.metadata = {"authorization_grant_profiles_supported": ["urn:ietf:params:oauth:grant-profile:other"]}
    refused(await lend(there, there.request()), "credential/refused")
    assert there.at.forms("/token") == []


async def test_metadata_of_a_provider_that_gives_no_assertions_is_believed(there: Asserting):
    await there.connect()
    there.idp.metadata = {"identity_chaining_requested_token_types_supported": []}
    there.build()
    await there.load()
    refused(await lend(there, there.request()), "credential/refused")
    assert "token-exchange" not in grants(there.idp)


async def test_a_user_without_a_connection_is_sent_to_make_one(there: Asserting):
    refused(await lend(there, there.request()), "credential/connect")
    refused(await lend(there, there.request(user=None)), "credential/no-user")


async def test_another_account_at_the_provider_than_that_of_the_login_connects_nothing(there: Asserting):
    link = await there.ask()
    cookie = await there.log_in(link)
    url = await there.agree(link, cookie)
    there.idp.person = "mallory"
    told = await there.office.finish("crm", there.idp.authorize(url), cookie)

    connecting.refused(told, "connection/person")
    assert await there.connections.all() == ()
    assert there.idp.families[-1].is_dead
    refused(await lend(there, there.request()), "credential/connect")


@pytest.mark.parametrize("subject", ["id_token", "refresh_token"])
async def test_a_logout_at_the_provider_ends_the_connection(there: Asserting, subject: str):
    there.subject = subject
    there.build()
    await there.connect()
    issued(await lend(there, there.request(1)))
    for family in there.idp.families:
        family.is_dead = True

    refused(await lend(there, there.request(2)), "credential/connect")
    assert [each.is_removed for each in await there.connections.all()] == [True]
    assert len(there.removed) == 1


@pytest.mark.parametrize("subject", ["id_token", "refresh_token"])
@pytest.mark.parametrize("error", ["access_denied", "invalid_grant"])
async def test_a_denial_of_the_provider_ends_no_connection(there: Asserting, subject: str, error: str):
    there.subject = subject
    there.build()
    await there.connect()
    there.idp.denies = error
    found = refused(await lend(there, there.request(1)), "credential/refused")
    assert (error in found.reason.message, found.is_certain, there.removed) == (True, True, [])
    there.idp.denies = ""
    issued(await lend(there, there.request(2)))


async def test_a_provider_that_is_down_ends_no_connection(there: Asserting):
    await there.connect()
    there.idp.is_down = True
    assert refused(await lend(there, there.request(1)), "credential/unavailable").may_retry
    there.idp.is_down = False
    issued(await lend(there, there.request(2)))


async def test_a_server_that_is_down_may_have_issued_a_token(there: Asserting):
    await there.connect()
    await lend(there, there.request(1))
    there.at.is_down = True
    found = refused(await lend(there, there.request(2)), "credential/unavailable")
    assert (found.may_retry, found.is_certain) == (True, False)


async def test_a_refresh_that_gives_no_id_token_names_the_other_way(there: Asserting):
    await there.connect()
    there.idp.answer = {"id_token": None}
    found = refused(await lend(there, there.request()), "credential/malformed")
    assert "refresh_token" in found.reason.remedy


async def test_an_id_token_of_another_user_is_shown_to_nobody(there: Asserting):
    await there.connect()
    there.idp.families[-1].person = "mallory"
    refused(await lend(there, there.request()), "credential/subject")
    assert "token-exchange" not in grants(there.idp)


async def test_the_token_of_a_caller_is_shown_to_its_own_issuer_alone(there: Asserting):
    there.subject = "caller_token"
    there.build()
    own = jwt_text({"iss": there.idp.url, "sub": "alice", "aud": "gw"})
    request = there.request()
    refused(await lend(there, request), "credential/subject")
    stranger = replace(request.principal, issuer="https://other.example")
    refused(await lend(there, structs.replace(request, principal=stranger, subject_token=own)), "credential/subject")
    assert (there.idp.forms("/token"), there.at.forms("/token")) == ([], [])
    issued(await lend(there, structs.replace(request, subject_token=own)))

    (exchange,) = there.idp.forms("/token")
    assert exchange["subject_token_type"] == ["urn:ietf:params:oauth:token-type:access_token"]
    assert (exchange["subject_token"], "access_token" in str(there.at.forms("/token"))) == ([own], False)
