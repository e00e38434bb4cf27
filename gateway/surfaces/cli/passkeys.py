"""`opagate approvals passkeys` and `opagate approvals verify`: passkeys of approvers, and the votes that these signed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.surfaces.cli.control_client import GatewayOption, ask_gateway
from gateway.surfaces.cli.options import ConfigOption, JournalOption, JsonOption, chosen_journals, configuration
from gateway.surfaces.cli.terminal import describe_count, emit, note, plain, say, show, table

if TYPE_CHECKING:
    from gateway.authority.approvals.signed_votes import SignedVotes
    from gateway.record.journal.several import NamedJournal

app = typer.Typer(help="Passkeys that sign votes: invite a person, list, and remove them.", no_args_is_help=True)


@app.command(
    "invite", epilog="Example: opagate approvals passkeys invite ana@corp.example --issuer https://idp.example"
)
def invite(
    person: Annotated[str, typer.Argument(metavar="PERSON", help="The id of the person at the console.")],
    issuer: Annotated[
        str, typer.Option("--issuer", metavar="URL", help="The issuer of the person's logins.", show_default=True)
    ] = "local",
    at: GatewayOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Invite a person to register one passkey at /console/passkeys. The code works once, within a day, and for this person alone.

    Give the code to the person by another way than the login, since the code proves who registers.
    """
    found: dict[str, Any] = ask_gateway(at, config, "passkeys/invite", person=person, issuer=issuer)
    if as_json:
        emit(found)
        return
    say(found["code"])
    note(
        f"{found['person']} of {found['issuer']} registers one passkey with it at /console/passkeys, until {_at(found['expires'])}"
    )


@app.command("list", epilog="Example: opagate approvals passkeys list")
def list_passkeys(at: GatewayOption = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List the passkeys, the oldest first."""
    found: list[dict[str, Any]] = ask_gateway(at, config, "passkeys/list")["passkeys"]
    if as_json:
        emit(found)
        return
    if not found:
        note("no passkey is registered; see `opagate approvals passkeys invite`")
        return
    listed = table("id", "person", "issuer", "name", "registered", "last used", "signatures")
    for key in found:
        used = "never" if key["used"] is None else _at(key["used"])
        cells = key["id"][:12], key["person"], key["issuer"], key["name"], _at(key["registered"]), used
        listed.add_row(*map(plain, cells), str(key["count"] or "-"))
    show(listed)


@app.command("remove", epilog="Example: opagate approvals passkeys remove pQECAyYg")
def remove(
    identifier: Annotated[str, typer.Argument(metavar="ID", help="The passkey, or the first characters of its id.")],
    at: GatewayOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove a passkey, which then signs no further vote. Earlier votes still count."""
    found: dict[str, Any] = ask_gateway(at, config, "passkeys/remove", id=identifier)
    if as_json:
        emit(found)
    else:
        note(f"the passkey {found['name']!r} of {found['person']} is removed")


def verify_votes(
    folders: JournalOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Verify the signatures of votes again, from the journal alone. It needs no running gateway.

    Journals of several gateways are read together. A vote without a signature fails where its question wanted a passkey.
    `opagate journal verify` checks the journal itself.

    Exit status 1 if a vote does not verify.
    """
    votes = _read_votes(chosen_journals(configuration(config), folders))
    if as_json:
        emit({"verified": votes.verified, "problems": [one._asdict() for one in votes.problems]})
    else:
        for one in votes.problems:
            say(f"{one.question}: the vote of {one.person} does not verify: {one.problem}", style="red")
        note(
            f"{describe_count(votes.verified, 'signed vote')} verified, {describe_count(len(votes.problems), 'problem')}"
        )
    if votes.problems:
        raise typer.Exit(1)


def _read_votes(journals: Sequence[NamedJournal]) -> SignedVotes:
    """Return the votes of journals, in the order of time. Raise `ConfigurationError` without the extra, and `JournalError`."""
    from msgspec import MsgspecError

    from gateway.authority.approvals.passkey import is_installed
    from gateway.model.errors import ConfigurationError, JournalError
    from gateway.record.journal import storage
    from gateway.record.journal.several import merge_entries

    if not is_installed():
        raise ConfigurationError("the extra opagate[passkeys] is not installed", "pip install 'opagate[passkeys]'")
    for each in journals:
        if not storage.has_begun(each.folder):
            raise JournalError(
                f"there is no journal in {each.folder}", "name the folder with the segments of a journal"
            )
    from gateway.authority.approvals.signed_votes import SignedVotes

    votes = SignedVotes()
    for _, entry in merge_entries(journals):
        try:
            votes.add(entry)
        except (KeyError, MsgspecError):
            problem = f"the entry {entry.get('seq')} of the journal is damaged"
            raise JournalError(problem, "run `opagate journal verify`") from None
    return votes


def _at(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
