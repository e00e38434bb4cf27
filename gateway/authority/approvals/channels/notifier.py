"""The ties between the desk and its channels: each question is told on each channel once, and its end too.

One gateway has the duty to send. The records have each delivery. So after its end, the next one sends the rest, and nothing twice.
A message that was under way at that moment comes twice, with the same id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from gateway.authority.approvals.channels.notice import item_of
from gateway.authority.approvals.channels.sender import Sender, Timing
from gateway.authority.approvals.state import NoticeDelivery
from gateway.model.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.authority.approvals.channels.channel import ApprovalChannel
    from gateway.authority.approvals.channels.notice import NoticeMessage, QuestionNews
    from gateway.authority.approvals.desk import Desk
    from gateway.authority.approvals.model import Approval, Notice
    from gateway.base.store.duty import Duty

log = structlog.get_logger("gateway.approvals")


class Notifier:
    """Tells people of questions. `has_watchers`: people look at the desk by themselves, so each question reaches somebody."""

    def __init__(
        self,
        desk: Desk,
        channels: Iterable[ApprovalChannel],
        page_url: str,
        timing: Timing,
        duty: Duty,
        *,
        has_watchers: bool,
    ) -> None:
        self._desk = desk
        self._duty = duty
        self._is_sender = False
        self._page_url = page_url
        self._has_watchers = has_watchers
        self._senders = {channel.name: Sender(channel, self, timing) for channel in channels}
        self._failing: dict[str, dict[str, bool]] = {}  # question → channel → whether the channel gave it up
        self._closing: set[tuple[str, str]] = set()  # channel and question whose end is being told
        self._in_line: dict[str, None] = {}  # questions that wait for the answers to others, the oldest first

    def start(self) -> None:
        """Tell people of new questions from the moment on at which this gateway has the duty."""
        self._desk.watch(self._hear)

    async def look(self) -> None:
        """Take the duty if no other gateway has it, and tell people of the untold questions. Raises `StoreError`."""
        is_sender = await self._duty.take()
        if is_sender == self._is_sender:
            return
        self._is_sender = is_sender
        log.info("approvals.sender", is_sender=is_sender)
        if not is_sender:
            await self._stop_senders()
            return
        for approval in self._desk.list_remembered():
            self._hear(approval)

    async def stop(self) -> None:
        """Stop sending, and close the channels."""
        self._is_sender = False
        await self._stop_senders()
        for sender in self._senders.values():
            await sender.channel.aclose()

    async def _stop_senders(self) -> None:
        for sender in self._senders.values():
            await sender.stop()
        self._failing.clear()
        self._closing.clear()
        self._in_line.clear()

    def _hear(self, approval: Approval) -> None:
        if not self._is_sender:
            return
        if approval.state == "pending":
            self._ask(approval)
            return
        self._let_in()
        self._failing.pop(approval.id, None)
        for name in approval.told:
            self._tell_end(approval, name)

    def _ask(self, approval: Approval) -> None:
        if self._desk.waits_in_line(approval):
            self._in_line[approval.id] = None
            return
        for name in self._senders.keys() - set(approval.told):
            if not approval.votes:
                self._put(approval, name, "asked")

    def _let_in(self) -> None:
        """Announce each question that has left the line."""
        for identifier in tuple(self._in_line):
            approval = self._desk.get(identifier)
            if approval is None or approval.state != "pending" or not self._desk.waits_in_line(approval):
                del self._in_line[identifier]
                if approval is not None and approval.state == "pending":
                    self._ask(approval)

    def _tell_end(self, approval: Approval, name: str) -> None:
        sender = self._senders.get(name)
        is_told = name in approval.told_end or (name, approval.id) in self._closing
        if sender is not None and sender.channel.tells_end and not is_told:
            self._closing.add((name, approval.id))
            self._put(approval, name, "closed")

    def _put(self, approval: Approval, name: str, notice: Notice) -> None:
        item = item_of(approval, notice, self._page_url)
        # The ends have a pace of their own, so that no question waits for them.
        self._senders[name].put(f"{notice} {approval.question.requester.key}", item)

    # --- reports of senders ----------------------------------------------------------------------------

    def is_current(self, item: QuestionNews) -> bool:
        """Return whether people still have to hear news: a question that has ended needs no answer."""
        approval = self._desk.get(item.id)
        is_wanted = approval is not None and (item.notice == "closed" or approval.state == "pending")
        return self._is_sender and is_wanted

    async def note_delivered(self, channel: ApprovalChannel, message: NoticeMessage) -> None:
        """Note that people were told."""
        for item in message.items:
            self._failing.pop(item.id, None)
            try:
                await self._desk.note_sent(item.id, NoticeDelivery(channel.name, item.notice, message.id))
            except GatewayError as error:
                # The next start sends the message again, with the same id.
                log.warning("approvals.unrecorded", id=item.id, channel=channel.name, problem=error.message)
            # Not before: a call may use the approval while the record of its told end is on its way.
            self._closing.discard((channel.name, item.id))
            approval = self._desk.get(item.id)
            if item.notice == "asked" and approval is not None and approval.state != "pending":
                self._tell_end(approval, channel.name)

    async def note_failed(
        self, channel: ApprovalChannel, message: NoticeMessage, problem: str, *, is_final: bool
    ) -> None:
        """Note that an attempt failed, and have callers told if no channel reaches people."""
        log.warning(
            "approvals.undelivered", channel=channel.name, message=message.id, problem=problem, given_up=is_final
        )
        for item in message.items:
            if is_final:
                self._closing.discard((channel.name, item.id))
                await self._record_failure(channel, message, item, problem)
            if item.notice == "asked":
                await self._judge(item.id, channel.name, is_final=is_final)

    async def _record_failure(
        self, channel: ApprovalChannel, message: NoticeMessage, item: QuestionNews, problem: str
    ) -> None:
        try:
            await self._desk.note_unsent(item.id, NoticeDelivery(channel.name, item.notice, message.id), problem)
        except GatewayError as error:
            log.warning("approvals.unrecorded", id=item.id, channel=channel.name, problem=error.message)

    async def _mark_unreached(self, identifier: str, channel: str) -> None:
        try:
            await self._desk.mark_unreached(identifier)
        except GatewayError as error:
            log.warning("approvals.unrecorded", id=identifier, channel=channel, problem=error.message)

    async def _judge(self, identifier: str, channel: str, *, is_final: bool) -> None:
        """Mark an undelivered question: for now, or for good if all channels gave up."""
        approval = self._desk.get(identifier)
        if approval is None or approval.state != "pending":
            return
        failing = self._failing.setdefault(identifier, {})
        failing[channel] = is_final
        if self._has_watchers or approval.told or failing.keys() != self._senders.keys():
            return
        if not all(failing.values()):
            await self._mark_unreached(identifier, channel)
            return
        try:
            await self._desk.end(identifier, "unreachable", "undelivered")
        except GatewayError as error:
            log.warning("approvals.unrecorded", id=identifier, channel=channel, problem=error.message)
