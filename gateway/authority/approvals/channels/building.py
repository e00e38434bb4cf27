"""Channels from the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.authority.approvals.channels.mail import MailSender, SmtpServer
from gateway.authority.approvals.channels.webhooks import Slack, Webhook
from gateway.config.channels import EmailChannel, SlackChannel, name_of, signing_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.authority.approvals.channels.channel import ApprovalChannel
    from gateway.config.approvals import ApprovalSettings
    from gateway.config.channels import SendingChannel


def build_channels(settings: ApprovalSettings, clock: Callable[[], float]) -> tuple[ApprovalChannel, ...]:
    """Return the channels with messages. Nothing is connected. Raises `ConfigurationError`.

    `clock` gives seconds since the epoch.
    """
    return tuple(_build(channel, clock) for channel in settings.sending)


def _build(settings: SendingChannel, clock: Callable[[], float]) -> ApprovalChannel:
    name, tells_end = name_of(settings), settings.tell_end
    if isinstance(settings, SlackChannel):
        return Slack(name, settings.url.get_secret_value(), tells_end=tells_end)
    if isinstance(settings, EmailChannel):
        password = None if settings.password is None else settings.password.get_secret_value()
        server = SmtpServer(settings.host, settings.port, settings.tls, settings.user, password, settings.ca)
        return MailSender(name, server, settings.sender, settings.to, clock=clock, tells_end=tells_end)
    key = signing_key(settings.secret)
    return Webhook(name, settings.url, key, clock=clock, ca=settings.ca, tells_end=tells_end)
