import pytest

from gateway.identity import identities
from gateway.identity.outcomes import CredentialFault
from gateway.model.caller import Credentials


def present(*authorization: str) -> identities.AccessToken | CredentialFault | None:
    return identities.access_token(Credentials("POST", "https://gateway.example/mcp", authorization))


def test_the_scheme_and_the_token_are_read():
    assert present("Bearer a.b.c") == identities.AccessToken("a.b.c", dpop=False)
    assert present("bearer  a.b.c") == identities.AccessToken("a.b.c", dpop=False)
    assert present("DPoP a.b.c") == identities.AccessToken("a.b.c", dpop=True)
    assert present("dpop a.b.c") == identities.AccessToken("a.b.c", dpop=True)


def test_no_header_is_no_token():
    assert present() is None


@pytest.mark.parametrize(
    "values",
    [
        ("Bearer a.b.c", "Bearer a.b.c"),
        ("Bearer a.b.c", "Bearer d.e.f"),
        ("",),
        ("Bearer",),
        ("Bearer ",),
        ("Basic dXNlcjpwYXNz",),
        ("a.b.c",),
        ("Bearer\ta.b.c",),
        (" Bearer a.b.c",),
        ("Bearer é",),
        ("Bearer " + "a" * (16 * 1024 + 1),),
    ],
)
def test_anything_else_is_refused(values: tuple[str, ...]):
    result = present(*values)
    assert isinstance(result, CredentialFault)
    assert result.code == "identity/malformed"
