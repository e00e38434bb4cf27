"""Mail by an SMTP server (RFC 5321, RFC 3207), with the standard library in a thread of its own for each mail.

A thread waiting for a silent server is not joined: the gateway ends without such a thread. A deadline closes its
connection.
"""

from __future__ import annotations

import asyncio
import smtplib
import socket
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import formatdate, parseaddr
from typing import TYPE_CHECKING, Any, Final, Literal

import structlog

from gateway.authority.approvals.channels.channel import UndeliveredError
from gateway.authority.approvals.channels.notice import lines_of, title_of
from gateway.wire.https_client import tls_context

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.authority.approvals.channels.notice import NoticeMessage

log = structlog.get_logger("gateway.approvals")

_FINAL: Final = 500
"""SMTP replies from here on are permanent (RFC 5321 section 4.2.1)."""


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """An SMTP server. `ca` is a file of authorities in the place of the system's."""

    host: str
    port: int
    tls: Literal["starttls", "tls", "none"]
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    ca: Path | None = None


class MailSender:
    """Sends each message as a mail. Raises `ConfigurationError` for unreadable authorities."""

    def __init__(
        self,
        name: str,
        server: SmtpServer,
        sender: str,
        to: tuple[str, ...],
        *,
        clock: Callable[[], float],
        tells_end: bool = False,
    ) -> None:
        """`clock` gives seconds since the epoch."""
        self.name = name
        self.place = f"{server.host}:{server.port}"
        self.tells_end = tells_end
        self._server = server
        self._tls = None if server.tls == "none" else tls_context(server.ca)
        self._sender = sender
        self._to = to
        self._clock = clock

    async def send(self, message: NoticeMessage, within: float) -> None:
        """Send a mail to all addresses. Raises `UndeliveredError`."""
        attempt = _SmtpAttempt(self._server, self._tls, within)
        mail = mail_of(message, self._sender, self._to, self._clock())
        try:
            async with asyncio.timeout(within):
                await _in_own_thread(lambda: attempt.send(mail))
        except TimeoutError:
            raise UndeliveredError(f"{self.place} did not take the mail within {within:g} s") from None
        finally:
            attempt.abort()

    async def aclose(self) -> None:
        """Close nothing: the channel keeps nothing open."""


def mail_of(message: NoticeMessage, sender: str, to: tuple[str, ...], now: float) -> EmailMessage:
    """Return a message as a mail. Its Message-ID is the same at each attempt."""
    mail = EmailMessage()
    mail["From"], mail["To"] = sender, ", ".join(to)
    mail["Subject"] = f"[opagate] {title_of(message)}"
    mail["Date"] = formatdate(now)
    mail["Message-ID"] = f"<{message.id}@{parseaddr(sender)[1].rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content("".join(f"{line.text}\n" for line in lines_of(message)))
    return mail


class _SmtpAttempt:
    """One connection to a server, used in a thread and closed from another."""

    def __init__(self, server: SmtpServer, tls: ssl.SSLContext | None, within: float) -> None:
        self._server = server
        self._tls = tls
        self._within = within
        self.connection: smtplib.SMTP | None = None
        self._is_over = False

    def send(self, mail: EmailMessage) -> None:
        """Deliver a mail. Raises `UndeliveredError`."""
        place = f"{self._server.host}:{self._server.port}"
        try:
            refused = self._send(self._connect(), mail)
        except smtplib.SMTPNotSupportedError:
            raise UndeliveredError(f"{place} offers no STARTTLS, or no login", is_final=True) from None
        except smtplib.SMTPRecipientsRefused as error:
            codes = [code for code, _ in error.recipients.values()]
            raise UndeliveredError(f"{place} refused all addresses", is_final=min(codes) >= _FINAL) from None
        except smtplib.SMTPResponseException as error:
            problem = f"{place} answered {error.smtp_code}"
            raise UndeliveredError(problem, is_final=error.smtp_code >= _FINAL) from None
        except ssl.SSLCertVerificationError:
            raise UndeliveredError(f"the certificate of {place} is not trusted") from None
        except (OSError, smtplib.SMTPException) as error:
            raise UndeliveredError(f"{place} cannot be reached: {type(error).__name__}") from None
        if refused:
            # Other people have the mail, so the question reaches somebody.
            log.warning("approvals.partly-delivered", place=place, refused=len(refused))

    def _send(self, connection: smtplib.SMTP, mail: EmailMessage) -> dict[str, tuple[int, bytes]]:
        """Return the refused addresses. After the server has taken the mail, a failed farewell is no failure."""
        try:
            self._secure(connection)
            refused = connection.send_message(mail)
            with suppress(OSError, smtplib.SMTPException):
                connection.quit()
            return refused
        finally:
            connection.close()

    def abort(self) -> None:
        """End the connection, so its thread ends too."""
        self._is_over = True
        found = self.connection.sock if self.connection is not None else None
        if found is not None:
            try:
                found.shutdown(socket.SHUT_RDWR)
            except OSError:
                return

    def _connect(self) -> smtplib.SMTP:
        server = self._server
        # By default the client asks DNS for its own name, which may take longer than the deadline.
        options: dict[str, Any] = {"timeout": self._within, "local_hostname": socket.gethostname()}
        if server.tls == "tls":
            return _TlsClient(self, server.host, server.port, context=self._tls, **options)
        return _PlainSmtpClient(self, server.host, server.port, **options)

    def _secure(self, connection: smtplib.SMTP) -> None:
        if self._is_over:
            raise TimeoutError
        if self._server.tls == "starttls":
            assert self._tls is not None  # noqa: S101 - made with the server
            connection.starttls(context=self._tls)
        if self._server.user is not None and self._server.password is not None:
            connection.login(self._server.user, self._server.password)


class _Noted(smtplib.SMTP):
    """A client known to its attempt before the server's first word. A timeout of a socket is for one byte only."""

    def __init__(self, attempt: _SmtpAttempt, *arguments: Any, **options: Any) -> None:
        self._attempt = attempt
        super().__init__(*arguments, **options)

    def connect(self, *arguments: Any, **options: Any) -> tuple[int, bytes]:
        self._attempt.connection = self
        return super().connect(*arguments, **options)


class _PlainSmtpClient(_Noted):
    """A client with a beginning in plain text."""


class _TlsClient(_Noted, smtplib.SMTP_SSL):
    """A client with TLS from the beginning."""


async def _in_own_thread(work: Callable[[], None]) -> None:
    """Do work in a new thread; the end of the process does not wait for the thread."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def run() -> None:
        error: BaseException | None = None
        try:
            work()
        except Exception as found:  # noqa: BLE001 - raised again where the work is waited for
            error = found
        try:
            loop.call_soon_threadsafe(settle, error)
        except RuntimeError:
            # The loop has closed: nobody waits any more.
            return

    threading.Thread(target=run, name="mail", daemon=True).start()
    await done
