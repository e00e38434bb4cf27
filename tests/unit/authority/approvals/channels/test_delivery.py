"""Channels against real receivers: a web server, and an SMTP server with TLS and a login."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
import time
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path

import pytest
from pydantic import SecretStr

from gateway import config
from gateway.authority.approvals.channels.building import build_channels
from gateway.authority.approvals.channels.channel import UndeliveredError
from gateway.authority.approvals.channels.mail import MailSender, SmtpServer
from gateway.authority.approvals.channels.notice import (
    NoticeMessage,
    QuestionNews,
    compose,
    event_of,
    lines_of,
    title_of,
)
from gateway.authority.approvals.channels.webhooks import Slack, Webhook
from gateway.config.channels import signing_key
from gateway.model.errors import ConfigurationError
from tests.e2e import certificates
from tests.servers.receivers import PASSWORD, SECRET, Hooks, Mails, receiving, taking_mail
from tests.unit.clock import Clock
from tests.unit.identity.tokens import Authority

KEY = signing_key(SecretStr(SECRET))
ITEM = QuestionNews(
    "q1",
    "asked",
    "QKZT",
    "files/delete",
    "task-1",
    "clerk",
    "ursula",
    "The agent clerk, for ursula, wants to call files/delete.",
    ("It cannot be taken back.",),
    ("approval/effect",),
    "2026-11-28T12:00:00Z",
    "https://g/approvals/q1",
)
MESSAGE = compose("hook", (ITEM,))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A file of authorities, and the context of a server with a certificate of theirs."""
    folder, found = tmp_path_factory.mktemp("tls"), Authority(now=time.time())
    pair = certificates.server(found, folder)
    (folder / "ca.pem").write_text(ssl.DER_cert_to_PEM_cert(found.der), "utf-8")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    return folder / "ca.pem", context


@pytest.fixture
def hooks() -> Generator[Hooks]:
    with receiving() as found:
        yield found


def webhook(url: str, ca: Path | None = None) -> Webhook:
    # The other implementation compares the time of a message with the time of day.
    return Webhook("hook", url, KEY, clock=time.time, ca=ca)


async def undelivered(channel: Webhook | Slack | MailSender, within: float = 10.0) -> UndeliveredError:
    with pytest.raises(UndeliveredError) as found:
        await channel.send(MESSAGE, within)
    await channel.aclose()
    return found.value


async def test_a_webhook_is_signed_as_another_implementation_verifies(hooks: Hooks):
    channel = webhook(f"{hooks.url}/hook?key=1")
    for _ in range(2):
        await channel.send(MESSAGE, 10.0)
    await channel.aclose()

    first, second = hooks.received
    assert first.path == "/hook?key=1"
    assert first.id == second.id == MESSAGE.id
    assert first.event["type"] == "approval.asked"
    assert first.event["data"] == {
        "id": "q1",
        "code": "QKZT",
        "tool": "files/delete",
        "task": "task-1",
        "tree": None,
        "agent": "clerk",
        "user": "ursula",
        "sentence": "The agent clerk, for ursula, wants to call files/delete.",
        "why": ["It cannot be taken back."],
        "reasons": ["approval/effect"],
        "expires": "2026-11-28T12:00:00Z",
        "url": "https://g/approvals/q1",
        "warnings": [],
    }


@pytest.mark.parametrize(
    ("status", "is_final", "after"),
    [
        (500, False, 7.0),
        (503, False, 7.0),
        (429, False, 7.0),
        (404, True, 7.0),
        (410, True, 7.0),
        (302, True, 7.0),
        (307, True, 7.0),
    ],
)
async def test_an_answer_that_takes_no_message_is_a_failure(hooks: Hooks, status: int, *, is_final: bool, after: float):
    hooks.statuses = [status]
    hooks.headers = {"location": f"{hooks.url}/elsewhere", "retry-after": "7"}
    failure = await undelivered(webhook(f"{hooks.url}/very-secret?token=very-secret"))

    assert (failure.is_final, failure.after) == (is_final, after)
    assert [one.path for one in hooks.received] == ["/very-secret?token=very-secret"]
    assert str(status) in failure.problem
    assert "very-secret" not in failure.problem
    assert "very-secret" not in repr(failure)


async def test_a_receiver_that_is_away_or_silent_is_a_failure_that_may_pass(hooks: Hooks):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    away = await undelivered(webhook(f"http://127.0.0.1:{port}/x"))
    silent = await undelivered(webhook(f"{hooks.url}/held"), within=0.1)

    assert (away.is_final, silent.is_final) == (False, False)
    assert "did not answer within 0.1 s" in silent.problem


async def test_a_certificate_is_verified(authority: tuple[Path, ssl.SSLContext]):
    ca, tls = authority
    with receiving(tls) as hooks:
        trusted = webhook(hooks.url, ca)
        await trusted.send(MESSAGE, 10.0)
        await trusted.aclose()
        untrusted = await undelivered(webhook(hooks.url))
        wrong_name = await undelivered(webhook(hooks.url.replace("127.0.0.1", "localhost"), ca))

    assert len(hooks.received) == 1
    assert "certificate is not trusted" in untrusted.problem
    assert "certificate is not trusted" in wrong_name.problem


async def test_slack_gets_a_link_and_no_text_that_slack_could_take_for_more(hooks: Hooks):
    channel = Slack("slack", f"{hooks.url}/services/T0/B0/very-secret")
    await channel.send(MESSAGE, 10.0)
    await channel.aclose()
    hooks.statuses = [403]
    failure = await undelivered(Slack("slack", f"{hooks.url}/services/T0/B0/very-secret"))

    (section,) = hooks.received[0].json["blocks"]
    assert "<https://g/approvals/q1>" in section["text"]["text"]
    assert section["text"]["verbatim"] is True
    assert "QKZT" in hooks.received[0].json["text"]
    assert "very-secret" not in failure.problem + channel.place


# --- mail --------------------------------------------------------------------------------------------


def mail(mails: Mails, ca: Path | None, *, tls: str = "starttls", password: str = PASSWORD) -> MailSender:
    server = SmtpServer(mails.host, mails.port, tls, "gateway", password, ca)  # pyright: ignore[reportArgumentType]
    to = ("Ann <ann@corp.example>", "bob@corp.example")
    return MailSender("mail", server, "opagate@corp.example", to, clock=Clock())


@pytest.mark.parametrize("from_first_byte", [False, True])
async def test_a_mail_goes_over_tls_after_a_login(authority: tuple[Path, ssl.SSLContext], *, from_first_byte: bool):
    ca, tls = authority
    with taking_mail(tls, from_first_byte=from_first_byte) as mails:
        channel = mail(mails, ca, tls="tls" if from_first_byte else "starttls")
        await channel.send(MESSAGE, 10.0)

    (received,) = mails.received
    assert mails.recipients == [["ann@corp.example", "bob@corp.example"]]
    assert received["subject"] == "[opagate] Approval QKZT: clerk asks for files/delete"
    assert received["message-id"] == f"<{MESSAGE.id}@corp.example>"
    assert received["auto-submitted"] == "auto-generated"
    assert "https://g/approvals/q1" in received.get_content()


async def test_a_refused_mail_is_told_without_the_password(authority: tuple[Path, ssl.SSLContext]):
    ca, tls = authority
    with taking_mail(tls) as mails:
        mails.reply = "451 4.3.0 later"
        later = await undelivered(mail(mails, ca))
        mails.reply = "554 5.7.1 never"
        never = await undelivered(mail(mails, ca))
        stranger = await undelivered(mail(mails, ca, password="very-secret"))
        untrusted = await undelivered(mail(mails, None))

    assert (later.is_final, later.problem) == (False, f"{mails.host}:{mails.port} answered 451")
    assert (never.is_final, never.problem) == (True, f"{mails.host}:{mails.port} answered 554")
    assert stranger.is_final is True
    assert stranger.problem.endswith("answered 535")
    assert "not trusted" in untrusted.problem
    assert mails.received == []


@pytest.mark.parametrize(
    ("refused", "is_final", "problem"),
    [
        ({"ann@corp.example": "550 5.1.1 unknown", "bob@corp.example": "550 no"}, True, "refused all addresses"),
        ({"ann@corp.example": "450 4.2.0 later", "bob@corp.example": "550 no"}, False, "refused all addresses"),
    ],
)
async def test_a_mail_that_goes_to_nobody_is_a_failure(
    authority: tuple[Path, ssl.SSLContext], refused: dict[str, str], *, is_final: bool, problem: str
):
    ca, tls = authority
    with taking_mail(tls) as mails:
        mails.refused = refused
        failure = await undelivered(mail(mails, ca))

    assert failure.is_final is is_final
    assert failure.problem.endswith(problem)


async def test_a_mail_that_goes_to_some_is_delivered(authority: tuple[Path, ssl.SSLContext]):
    ca, tls = authority
    with taking_mail(tls) as mails:
        mails.refused = {"ann@corp.example": "550 5.1.1 unknown"}
        await mail(mails, ca).send(MESSAGE, 10.0)

    assert mails.recipients == [["bob@corp.example"]]


async def test_a_mail_that_was_taken_is_delivered_whatever_the_farewell(authority: tuple[Path, ssl.SSLContext]):
    ca, tls = authority
    with taking_mail(tls) as mails:
        mails.farewell = "421 4.3.0 broken"
        await mail(mails, ca).send(MESSAGE, 10.0)

    assert len(mails.received) == 1


async def test_a_password_goes_over_no_connection_without_tls(authority: tuple[Path, ssl.SSLContext]):
    ca, _ = authority
    received: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"220 hello\r\n")
                while line := connection.recv(4_096):
                    received.append(line)
                    connection.sendall(
                        b"250-here\r\n250 AUTH PLAIN LOGIN\r\n" if line[:4] == b"ehlo" else b"250 OK\r\n"
                    )

        serving = threading.Thread(target=serve)
        serving.start()
        failure = await undelivered(mail(Mails("127.0.0.1", server.getsockname()[1]), ca))
        serving.join()

    assert (failure.is_final, "offers no STARTTLS" in failure.problem) == (True, True)
    assert not [line for line in received if b"auth" in line.lower()]


def test_each_configured_channel_is_built(tmp_path: Path, authority: tuple[Path, ssl.SSLContext]):
    ca, _ = authority
    for name, text in {
        "key": SECRET,
        "slack": "https://hooks.slack.example/services/very-secret",
        "password": "x",
    }.items():
        (tmp_path / name).write_text(text, "utf-8")
    channels = (
        "{kind: webhook, url: 'https://hooks.example/very-secret', secret: 'file:key', tell_end: false},"
        "{kind: slack, url: 'file:slack', name: ops},"
        f"{{kind: email, server: 'smtp.example:465', tls: tls, user: u, password: 'file:password', ca: '{ca}',"
        " from: a@x.example, to: [b@x.example], tell_end: true}, {kind: cli}"
    )
    settings = config.parse(f"approvals: {{channels: [{channels}]}}\n", base=tmp_path).approvals
    assert settings is not None
    built = build_channels(settings, Clock())

    assert [(one.name, one.place, one.tells_end) for one in built] == [
        ("webhook", "https://hooks.example", False),
        ("ops", "https://hooks.slack.example", True),
        ("email", "smtp.example:465", True),
    ]


@pytest.mark.parametrize(
    ("greeting", "drip"), [(b"", b""), (b"220 hello\r\n", b""), (b"220-hel", b""), (b"220", b"-a\r\n220")]
)
async def test_a_silent_server_is_left_at_the_deadline_and_its_thread_ends(greeting: bytes, drip: bytes):
    with socket.create_server(("127.0.0.1", 0)) as server:
        accepted: list[socket.socket] = []

        def serve() -> None:
            connection, _ = server.accept()
            accepted.append(connection)
            connection.sendall(greeting)
            with suppress(OSError):
                while drip:
                    connection.sendall(drip)
                    time.sleep(0.05)

        serving = threading.Thread(target=serve)
        serving.start()
        channel = MailSender(
            "mail",
            SmtpServer("127.0.0.1", server.getsockname()[1], "none"),
            "a@x.example",
            ("b@x.example",),
            clock=Clock(),
        )
        failure = await undelivered(channel, within=0.2)
        while [thread for thread in threading.enumerate() if thread.name == "mail"]:
            await asyncio.sleep(0.01)
        accepted[0].close()
        serving.join()

    assert failure.is_final is False


def test_no_secret_is_in_the_form_of_a_server():
    assert "very-secret" not in repr(SmtpServer("h", 25, "tls", "user", "very-secret"))


def test_authorities_that_cannot_be_read_are_told(tmp_path: Path):
    with pytest.raises(ConfigurationError, match=r"none\.pem cannot be used"):
        webhook("https://127.0.0.1", tmp_path / "none.pem")


def test_a_test_message_says_that_nothing_is_to_be_done():
    message = NoticeMessage("msg_1", "test")
    assert "test" in title_of(message)
    assert "Nothing is to be done" in "".join(line.text for line in lines_of(message))
    assert json.loads(event_of(message, 0.0)) == {
        "type": "approval.test",
        "timestamp": "1970-01-01T00:00:00Z",
        "data": {},
    }
