"""`opagate approvals passkeys` and `opagate approvals verify`: passkeys of approvers, and the votes that these signed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from heapq import merge
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.surfaces.cli.control_client import GatewayOption, ask_gateway
from gateway.surfaces.cli.options import ConfigOption, JsonOption, configuration
from gateway.surfaces.cli.terminal import describe_count, emit, note, plain, say, show, table

if TYPE_CHECKING:
    from gateway.authority.approvals.signed_votes import SignedVotes
    from gateway.model.wire import JsonObject

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
    path: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLDER",
            help="The journal of one of several gateways, or archived segments, in the place of the journal. Repeat it for each.",
        ),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Verify the signatures of votes again, from the journal alone. It needs no running gateway.

    Journals of several workers are read together. A vote without a signature fails where its question wanted a passkey.
    `opagate journal verify` checks the journal itself.

    Exit status 1 if a vote does not verify.
    """
    from gateway.surfaces.stored.workers import list_journals

    votes = _read_votes(path or [each.journal.path for each in list_journals(configuration(config))])
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


def _read_votes(journals: Sequence[Path]) -> SignedVotes:
    """Return the votes of journals, in the order of time. Raise `ConfigurationError` without the extra, and `JournalError`."""
    from msgspec import MsgspecError

    from gateway.authority.approvals.passkey import is_installed
    from gateway.model.errors import ConfigurationError, JournalError
    from gateway.record.journal import reader, storage

    if not is_installed():
        raise ConfigurationError("the extra opagate[passkeys] is not installed", "pip install 'opagate[passkeys]'")
    for folder in journals:
        if not storage.has_begun(folder):
            raise JournalError(f"there is no journal in {folder}", "name the folder with the segments of a journal")
    from gateway.authority.approvals.signed_votes import SignedVotes

    votes = SignedVotes()
    for entry in merge(*map(reader.entries, journals), key=_time_of):
        try:
            votes.add(entry)
        except (KeyError, MsgspecError):
            problem = f"the entry {entry.get('seq')} of the journal is damaged"
            raise JournalError(problem, "run `opagate journal verify`") from None
    return votes


def _time_of(entry: JsonObject) -> str:
    return str(entry.get("time", ""))


def _at(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
