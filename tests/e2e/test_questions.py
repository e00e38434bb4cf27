"""Every kind of question, made by real calls through a real gateway, is shown on every surface: each surface answers, has the
question's code of four letters, and has no line of the agent's own.

A new kind of question fails `test_each_code_that_asks_has_its_calls` until `tests/e2e/questions.py` has its calls.
"""

from __future__ import annotations

import html
import json
import re
import ssl
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Final

import httpx2
import pytest

from gateway.base.letters import is_hidden
from gateway.surfaces.cli.control_client import connect_to_gateway
from tests import forked_gateway
from tests.e2e import certificates
from tests.e2e.questions import CASES, CODES, Office, codes_that_ask, office
from tests.e2e.systems import Servers
from tests.e2e.wire import page, until
from tests.servers.receivers import PASSWORD, SECRET, Hooks, Mails, receiving, taking_mail
from tests.unit.identity.tokens import Authority


@dataclass(frozen=True, slots=True)
class Surfaces:
    """A gateway, and the places at which people read its questions."""

    office: Office
    hooks: Hooks
    mails: Mails
    console: httpx2.Client

    def run(self, *words: str) -> str:
        """What a command prints for a person."""
        folder = self.office.gateway.folder
        done = forked_gateway.run(
            ("approvals", *words, "--as", "carol"), folder, {"HOME": str(folder), "COLUMNS": "80"}
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def open(self, path: str) -> str:
        """The text of a page of the console."""
        answer = self.console.get(path)
        assert answer.status_code == 200, answer.text
        return html.unescape(re.sub("<[^>]+>", " ", answer.text))

    def message(self, path: str, code: str) -> Any:
        """The message about a question that came by a channel."""
        return _wait(
            lambda: next((one for one in self.hooks.received if one.path == path and code in one.body.decode()), None)
        )

    def mail(self, code: str) -> str:
        found = _wait(
            lambda: next(
                (one for one in self.mails.received if code in one["subject"] or code in one.get_content()), None
            )
        )
        return f"{found['subject']}\n{found.get_content()}".replace("\r\n", "\n")


def _wait(find: Callable[[], Any]) -> Any:
    until(lambda: find() is not None)
    return find()


@pytest.fixture(scope="module")
def surfaces(systems: Servers, tmp_path_factory: pytest.TempPathFactory) -> Generator[Surfaces]:
    folder = tmp_path_factory.mktemp("questions")
    authority = Authority(now=time.time())
    pair = certificates.server(authority, folder)
    (folder / "ca.pem").write_text(ssl.DER_cert_to_PEM_cert(authority.der), "utf-8")
    (folder / "smtp-password").write_text(PASSWORD, "utf-8")
    (folder / "hook-secret").write_text(SECRET, "utf-8")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pair.certificate, pair.key)
    with receiving() as hooks, taking_mail(tls) as mails:
        (folder / "slack-url").write_text(f"{hooks.url}/slack", "utf-8")
        mail = {"kind": "email", "server": f"{mails.host}:{mails.port}", "user": "gateway", "ca": "ca.pem"}
        mail |= {"password": "file:smtp-password", "from": "opagate@corp.example", "to": ["ann@corp.example"]}
        channels = [
            {"kind": "webhook", "url": f"{hooks.url}/hook", "secret": "file:hook-secret"},
            {"kind": "slack", "url": "file:slack-url"},
            mail,
        ]
        with (
            office(systems, folder, channels) as found,
            httpx2.Client(base_url=found.gateway.origin, timeout=300) as console,
        ):
            log_in(found, console)
            yield Surfaces(found, hooks, mails, console)


def log_in(found: Office, console: httpx2.Client) -> None:
    """Log a client in to the console by a one-time link."""
    with connect_to_gateway(found.gateway.folder / "state/control.sock") as desk:
        link = desk.ask("logins/link")["url"]
    origin = {"origin": found.gateway.origin}
    assert (
        console.post("/console/login/link", data={"token": link.rpartition("token=")[2]}, headers=origin).status_code
        == 303
    )


SURFACES: Final[dict[str, Callable[[Surfaces, dict[str, Any]], str]]] = {
    "approvals show": lambda found, one: found.run("show", one["id"]),
    "approvals list": lambda found, _one: found.run("list"),
    "console question": lambda found, one: found.open(f"/console/approvals/{one['id']}"),
    "console list": lambda found, _one: found.open("/console/approvals"),
    "page": lambda found, one: page(found.office.gateway, f"/approvals/{one['id']}")[1],
    "webhook": lambda found, one: json.dumps(found.message("/hook", one["code"]).event, ensure_ascii=False),
    "slack": lambda found, one: found.message("/slack", one["code"]).json["blocks"][0]["text"]["text"],
    "mail": lambda found, one: found.mail(one["code"]),
}
WHOLE: Final = ("approvals show", "console question")
"""The surfaces that show all of a question."""


def test_each_code_that_asks_has_its_calls():
    assert codes_that_ask() == CODES


@pytest.mark.parametrize("kind", sorted(CASES))
def test_each_kind_of_question_is_shown_on_each_surface(surfaces: Surfaces, kind: str):
    question = surfaces.office.ask(kind)
    codes = [reason["code"] for reason in question["reasons"]]
    assert kind in codes or kind not in CODES

    shown = {name: show(surfaces, question) for name, show in SURFACES.items()}
    for name, text in shown.items():
        assert question["code"] in text, (name, text)
        assert not [character for character in text if is_hidden(character) and character != "\n"], (name, text)
        assert not re.search(r"^ *(known by the gateway\W+)?toxic-flow: answered", text, re.MULTILINE), (name, text)
    for name in ("webhook", "slack", "mail"):
        assert f"{surfaces.office.gateway.origin}/console/approvals/{question['id']}" in shown[name], (
            name,
            shown[name],
        )
    for name in WHOLE:
        text = " ".join(shown[name].replace("│", " ").split())
        assert all(f"[{code}]" in text for code in codes), (name, text)
        assert not kind.startswith("limit/") or " of the user in a day up to " in text, (name, text)
