"""One mail transaction (RFC 5321 3.3), pipelined where the server allows (RFC 2920), with a fate for every recipient.

The steps are counted: RSET is -1 (only after an unfinished transaction), MAIL 0, RCPT 1 to n, DATA n + 1 and the
end of data n + 2. Pipelined, everything up to DATA leaves in one write and the replies are counted off; otherwise
each reply brings out the next command.
"""

import asyncio
from collections.abc import Callable

from providers.smtp import commands
from providers.smtp.line import Line
from providers.smtp.replies import Phase, judge, reference, reply_of, too_fast
from relay.core.provider import Outcome, OutcomeKind, Outgoing, Receipt
from relay.core.reply import Reply

#: octets of a mail that goes out in one write together with the commands behind it
_SMALL = 64 * 1024


class Transaction:
    """A mail looking for a line. `receipt` is done when every recipient has an outcome.

    `again` is called, at most once, when a kept line turned out to be dead before it had answered anything: the
    mail then wants another line. `ahead` says which mail may open behind the end of this one, if any.
    """

    __slots__ = (
        "_again",
        "_ahead",
        "_asked",
        "_behind",
        "_body_sent",
        "_command_timeout",
        "_commands",
        "_data_timeout",
        "_heard",
        "_line",
        "_outcomes",
        "_retried",
        "_step",
        "_taken",
        "mail",
        "receipt",
    )

    def __init__(
        self,
        mail: Outgoing,
        receipt: "asyncio.Future[Receipt]",
        *,
        command_timeout: float,
        data_timeout: float,
        again: Callable[["Transaction"], None],
        ahead: "Callable[[Line], Transaction | None] | None" = None,
    ) -> None:
        self.mail = mail
        self.receipt = receipt
        self._command_timeout = command_timeout
        self._data_timeout = data_timeout
        self._again = again
        self._ahead = ahead
        self._retried = False
        self._behind = False
        self._line: Line | None = None
        self._outcomes: list[Outcome | None] = [None] * len(mail.recipients)

    def start(self, line: Line) -> bool:
        """Begin on this line; False when there was nothing to say on it, and the mail is settled or given up."""
        opening = self.opening(line)
        if opening is None:
            return False
        self._line = line
        line.begin(self)
        line.write(opening, self._command_timeout)
        return True

    def opening(self, line: Line) -> bytes | None:
        """What is said first on this line; None when there is nothing to say, and the mail is settled or given up."""
        if self.receipt.done():
            return None
        mail = self.mail
        self._outcomes = [None] * len(mail.recipients)
        impossible = commands.impossible(mail, line.offers)
        if impossible is not None:
            self.settle(impossible)
            return None
        self._asked: list[int] = []  # recipients named to the server, by their place in the mail
        said = [commands.mail_from(mail, line.offers)]
        for place, recipient in enumerate(mail.recipients):
            refused = commands.unspeakable(recipient, line.offers)
            if refused is None:
                self._asked.append(place)
                said.append(commands.rcpt_to(recipient, line.offers))
            else:
                self._outcomes[place] = refused
        if not self._asked:
            self._finish(None)
            return None
        said.append(b"DATA\r\n")
        self._commands = said
        self._taken: list[int] = []  # recipients the server has taken, by their place in the mail
        self._body_sent = False
        self._heard = False
        self._step = -1 if line.dirty else 0
        line.dirty = False
        opening = b"".join(said) if line.offers.pipelining else said[0]
        if self._step < 0:
            opening = b"RSET\r\n" + opening if line.offers.pipelining else b"RSET\r\n"
        return opening

    def taken_up(self, line: Line) -> bool:
        """The mail before this one is over, and the replies to what was said behind it come now."""
        if self.receipt.done():
            return False
        self._line, self._behind = line, True
        return True

    def settle(self, outcome: Outcome) -> None:
        """Give this outcome to every recipient that has none, and be done."""
        if not self.receipt.done():
            self.receipt.set_result(tuple(one or outcome for one in self._outcomes))

    def fail(self, error: Exception) -> None:
        """Something of ours broke: whoever sent the mail is to hear of it."""
        if not self.receipt.done():
            self.receipt.set_exception(error)

    def abandon(self) -> None:
        """Nobody waits for the outcome any more; a line in the middle of it is of no more use."""
        if self._line is not None:
            self._line.done()
            self._line.abort()

    # What the line reports.

    def replied(self, line: Line, code: int, text: bytes) -> None:
        step, first = self._step, not self._heard
        self._step, self._heard = step + 1, True
        if code == 421:
            self._dismissed(line, reply_of(code, text), first=first)
        elif step < 0:
            # What RSET did is of no interest: a server that minds will say so at MAIL.
            self._next(line)
        elif step == 0:
            self._mail_replied(line, code, text)
        elif step <= len(self._asked):
            self._rcpt_replied(line, self._asked[step - 1], code, text)
        elif step == len(self._asked) + 1:
            self._data_replied(line, code, text)
        else:
            self._end_replied(line, code, text)

    def broken(self, line: Line, why: str) -> None:
        if not self._heard and self._ask_again(line):
            return
        self._line = None
        if self._body_sent and line.flushed:
            words = f"{why} after the data was sent; the mail may have been delivered"
            self.settle(Outcome(OutcomeKind.AMBIGUOUS, Reply(451, "4.4.2", words)))
        else:
            self.settle(Outcome(OutcomeKind.RETRY, Reply(451, "4.4.2", why)))

    # Step by step.

    def _mail_replied(self, line: Line, code: int, text: bytes) -> None:
        if code < 300:
            self._next(line)
        elif code < 400:
            line.out_of_step()
        elif code == 503 and self._behind and self._ask_again(line):
            # "Nested MAIL": the server has not put the mail before this one, which it refused, behind it.
            line.done()
            line.abort()
        else:
            outcome = judge(Phase.MAIL, reply_of(code, text))
            for place in self._asked:
                self._outcomes[place] = outcome
            self._nobody_left(line)

    def _rcpt_replied(self, line: Line, place: int, code: int, text: bytes) -> None:
        # Once MAIL was refused these replies are echoes of that.
        if self._outcomes[place] is None:
            if code < 300:
                self._taken.append(place)
            elif code < 400:
                line.out_of_step()
                return
            else:
                self._outcomes[place] = judge(Phase.RCPT, reply_of(code, text))
        if self._step > len(self._asked) and not self._taken:
            self._nobody_left(line)
        else:
            self._next(line)

    def _data_replied(self, line: Line, code: int, text: bytes) -> None:
        if 300 <= code < 400:
            if self._taken:
                self._body_sent = True
                self._pour(line)
            else:
                # Pipelined, and the server asks for data although it has no recipient: an empty mail to nobody.
                line.write(b".\r\n", self._command_timeout)
        elif code < 300:
            line.out_of_step()
        else:
            line.dirty = True
            self._finish(judge(Phase.DATA, reply_of(code, text)))

    def _pour(self, line: Line) -> None:
        """Send the mail, and with its end what opens the next one: RFC 2920 3.1 lets a body begin a group."""
        body = commands.stuffed(self.mail.raw)
        if self._ahead is not None and len(body) <= _SMALL and line.offers.pipelining:
            after = self._ahead(line)
            opening = after.opening(line) if after is not None else None
            if after is not None and opening is not None:
                line.pour_with(body, self._data_timeout, after, opening, self._command_timeout)
                return
        line.pour(body, self._data_timeout)

    def _end_replied(self, line: Line, code: int, text: bytes) -> None:
        if code < 300:
            reply = reply_of(code, text)
            self._finish(Outcome(OutcomeKind.ACCEPTED, reply, ref=reference(reply.text)))
        elif code < 400:
            line.out_of_step()
        else:
            line.dirty = True
            self._finish(judge(Phase.END, reply_of(code, text)))

    def _next(self, line: Line) -> None:
        if not line.offers.pipelining:
            line.write(self._commands[self._step], self._command_timeout)

    def _nobody_left(self, line: Line) -> None:
        """Everybody was refused. Pipelined, the remaining replies are on their way and have to be read."""
        line.dirty = True
        if not line.offers.pipelining:
            self._finish(None)

    def _finish(self, outcome: Outcome | None) -> None:
        """Every recipient has an outcome of its own, or else this one."""
        if self._line is not None:
            self._line.done()
            self._line = None
        if not self.receipt.done():
            self.receipt.set_result(
                tuple(one for own in self._outcomes if (one := own or outcome) is not None)
            )

    def _dismissed(self, line: Line, reply: Reply, *, first: bool) -> None:
        """421: the server closes the line. What it has not answered yet it will never answer."""
        line.done()
        line.abort()
        # The farewell to a connection that was idle for too long often crosses our first command.
        if first and not too_fast(reply) and self._ask_again(line):
            return
        self._line = None
        self.settle(judge(Phase.MAIL, reply))

    def _ask_again(self, line: Line) -> bool:
        if self._retried or line.used < 2 or self.receipt.done():
            return False
        self._retried = True
        self._line = None
        self._again(self)
        return True
