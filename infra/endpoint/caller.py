"""One call, made at most once: from the record if it is there, else asked, tried again where that helps, and kept."""

import logging
import random
import threading
from collections import Counter
from dataclasses import dataclass, field

import tenacity

from infra.endpoint.chat import Call, prompt_estimate, text_estimate
from infra.endpoint.failures import Failure, Fault, TryFailed
from infra.endpoint.record import CallRecord, CallReply, Claim
from infra.endpoint.spending import Purse
from infra.endpoint.wire import Completion, Wire

log = logging.getLogger("dpo.endpoint")
FIRST_S, LONGEST_S = 0.5, 30.0  # seconds between two tries
LONGEST_ASKED_S = 300.0  # a server that asks to be left alone for longer is taken for one that is away
SCOPE = "dpo"  # begins an Idempotency-Key, so that an account's keys of other programs are not met


class Stopped(Exception):
    """The run ends: what is not under way is not begun. Never leaves the room."""


@dataclass
class Counts:
    """What happened to calls in this process. Safe for threads."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    of: Counter[str] = field(default_factory=Counter)

    def add(self, what: str) -> None:
        """One more."""
        with self.lock:
            self.of[what] += 1


@dataclass(frozen=True)
class Caller:
    """Makes calls for many threads; `retries` are tries after the first one."""

    wire: Wire
    record: CallRecord
    spending: Purse
    retries: int
    counts: Counts = field(default_factory=Counts)

    def call(self, call: Call, stop: threading.Event) -> CallReply:
        """The reply to a call. Raises TryFailed (tried as often as it helps), BudgetSpent, Stopped, InfraError."""
        claim = self.record.claim(call.digest, stop)
        if isinstance(claim, CallReply):
            self.counts.add("from_record")
            return claim
        if claim is None or stop.is_set():
            if claim:
                self.record.end(claim, "unsent")
            raise Stopped
        if claim.lost:
            self.counts.add("asked_again")
        try:
            place = self.spending.reserve(call.digest, call.most_tokens, again=claim.number > 0)
        except BaseException:
            self.record.end(claim, "unsent")
            raise
        if stop.is_set():  # while it waited for the budget
            self.record.end(claim, "unsent")
            self._give_back(place, claim.lost)
            raise Stopped
        return self._asked(call, claim, place, stop)

    def _asked(self, call: Call, claim: Claim, place: int, stop: threading.Event) -> CallReply:
        tried = _Tried(lost=claim.lost)
        try:
            answer = self._tried(call, claim, tried, stop)
            reply = self.record.keep(claim, _recorded(call, answer, tried))
        except BaseException as error:
            if not isinstance(error, (TryFailed, Stopped)):
                tried.lost += 1  # whatever it was, it came after sending, as far as we know
            self.record.end(claim, "unanswered" if tried.lost > claim.lost else "refused")
            self._give_back(place, tried.lost)
            raise
        self.spending.settle(place, reply.tokens, reply.lost)
        self.counts.add("paid")
        return reply

    def _give_back(self, place: int, lost: int) -> None:
        """A place without a reply: it stays counted if the call may ever have been worked on."""
        if lost:
            self.spending.leave(place)
        else:
            self.spending.release(place)

    def _tried(self, call: Call, claim: Claim, tried: "_Tried", stop: threading.Event) -> Completion:
        """One answer, after as many tries as it takes; every try has the same Idempotency-Key."""

        def one() -> Completion:
            if tried.tries:
                self.record.renew(claim)
            tried.tries += 1
            try:
                return self.wire.ask(call.body, f"{SCOPE}-{call.digest}")
            except TryFailed as error:
                tried.lost += error.failure.lost
                raise

        def sleep(seconds: float) -> None:
            if stop.wait(seconds):
                raise Stopped

        def tell(state: tenacity.RetryCallState) -> None:
            pause = state.next_action.sleep if state.next_action else 0.0
            log.warning(
                "call_again digest=%.12s try=%d in_s=%.1f reason=%r",
                call.digest,
                state.attempt_number + 1,
                pause,
                _failure(state).says,
            )

        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self.retries + 1),
            wait=_pause,
            retry=tenacity.retry_if_exception(_is_worth_another),
            sleep=sleep,
            before_sleep=tell,
            reraise=True,
        )
        return retrying(one)


@dataclass
class _Tried:
    """Tries of one call in this process; `lost`: sends without an answer, those of earlier processes among them."""

    tries: int = 0
    lost: int = 0


def _is_worth_another(error: BaseException) -> bool:
    return (
        isinstance(error, TryFailed) and error.failure.fault is Fault.NOW and error.failure.after_s <= LONGEST_ASKED_S
    )


def _pause(state: tenacity.RetryCallState) -> float:
    """Seconds: twice as long each time, with jitter, and never sooner than the server asks for."""
    most = min(LONGEST_S, FIRST_S * 2 ** (state.attempt_number - 1))
    return max(_failure(state).after_s, random.uniform(most / 2, most))


def _failure(state: tenacity.RetryCallState) -> Failure:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, TryFailed)
    return error.failure


def _recorded(call: Call, answer: Completion, tried: _Tried) -> CallReply:
    """What is kept: at most as many answers as were asked for; tokens that were not told are estimated."""
    texts, reasons = answer.texts[: call.count], answer.finish_reasons[: call.count]
    prompt = prompt_estimate(call.request.messages) if answer.prompt_tokens is None else answer.prompt_tokens
    given = answer.completion_tokens
    completion = sum(map(text_estimate, answer.texts)) if given is None else given
    counted = (answer.prompt_tokens, answer.completion_tokens)
    return CallReply(texts, reasons, *counted, prompt + completion, tried.tries, tried.lost)
