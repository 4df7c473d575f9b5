"""What becomes of one request: as many calls as its samples take, and whose fault it is where it gets none."""

import threading
from dataclasses import replace
from typing import Never

from infra.endpoint.caller import Caller
from infra.endpoint.chat import Call, ChatRefused, ChatReply, ChatRequest
from infra.endpoint.failures import Failure, Fault, TryFailed
from infra.endpoint.record import CallReply
from infra.errors import BadSetting, InfraError, Rejected, Unavailable

MOST_REFUSED = 20  # requests without an answer among them: then it is not the requests
MOST_EMPTY = 3  # calls that give no answer at all, of one request
NAMED = 10  # models in a message

Outcome = ChatReply | ChatRefused


class Asker:
    """Answers requests one at a time, for many threads; it remembers how the endpoint treats them."""

    def __init__(self, caller: Caller, url: str, model: str) -> None:
        self._caller, self._url, self._model = caller, url, model
        self._lock = threading.Lock()
        self._answered = False
        self._refused = self._unanswered = 0  # refused before any answer; given no answer since the last one
        self._one_by_one = False  # the endpoint refuses to give several answers to one call

    def outcome(self, request: ChatRequest, stop: threading.Event) -> Outcome:
        """Raises BadSetting, Unavailable, Rejected where no request would fare better; BudgetSpent, Stopped."""
        try:
            replies = self._replies(request, stop)
        except TryFailed as error:
            return self._blame(error.failure)
        texts = [text for reply in replies for text in reply.texts]
        if len(texts) < request.samples:
            says = f"the endpoint gives {len(texts)} of {request.samples} answers, in {len(replies)} calls"
            return self._blame(Failure(says, Fault.REQUEST))
        with self._lock:
            self._answered, self._unanswered = True, 0
        reasons = [reason for reply in replies for reason in reply.finish_reasons]
        prompt, completion = zip(*((r.prompt_tokens, r.completion_tokens) for r in replies), strict=True)
        return ChatReply(texts, _sum(prompt), _sum(completion), reasons)

    def require_answers(self, outcomes: int, refused: int, last: str) -> None:
        """Raises Rejected if there were outcomes, each is a refusal, and the endpoint never gave anything else."""
        if outcomes and outcomes == refused and not self._answered:
            self._all_refused(outcomes, last)

    def error(self, failure: Failure) -> InfraError:
        """What a failure is to the user, with the address."""
        says, do = failure.says, failure.do
        if failure.no_model and (listed := self._listed()):
            says, do = f"{says}; the endpoint lists {named(listed)}", f"name one of them instead of {self._model!r}"
        kind = {Fault.NOW: Unavailable, Fault.SETUP: BadSetting, Fault.REQUEST: Rejected}[failure.fault]
        return kind(says, where=f"{self._url} ({self._model})", do=do)

    def _replies(self, request: ChatRequest, stop: threading.Event) -> list[CallReply]:
        """The replies that hold the samples. Which calls these are depends on the replies alone: a restart makes none.

        An endpoint that gives one answer where several are asked for is asked for one at a time from there on.
        """
        replies: list[CallReply] = []
        have = empty = 0
        single = False
        while have < request.samples and empty < MOST_EMPTY:
            call = Call(self._url, self._model, request, len(replies), have, 1 if single else request.samples - have)
            if call.count > 1 and self._one_by_one and not self._caller.record.begun(call.digest):
                single = True
                continue
            try:
                reply = self._caller.call(call, stop)
            except TryFailed as error:
                if not (error.failure.several and call.count > 1):
                    raise
                single = self._one_by_one = True
                continue
            single = single or (call.count > 1 and len(reply.texts) <= 1)
            have, empty = have + len(reply.texts), empty + (not reply.texts)
            replies.append(reply)
        return replies

    def _blame(self, failure: Failure) -> ChatRefused:
        """The request, if others go through or may; else raises."""
        if failure.fault is Fault.SETUP and not (failure.denied and self._answered):
            raise self.error(failure)
        if failure.fault is Fault.NOW:
            with self._lock:
                self._unanswered += 1
            if self._unanswered >= MOST_REFUSED:
                says = f"{failure.says}; no answer to {self._unanswered} requests one after the other"
                raise self.error(replace(failure, says=says))
            if failure.away or not self._lives():
                raise self.error(failure)
        with self._lock:
            self._refused += 1
        if not self._answered and self._refused >= MOST_REFUSED:
            self._all_refused(self._refused, failure.says)
        return ChatRefused(failure.says)

    def _all_refused(self, count: int, last: str) -> Never:
        says = f"the endpoint refuses every request, {count} of {count}; the last one: {last}"
        do = "correct what it says: model, parameters, length of the prompts; then run the same command again"
        raise Rejected(says, where=f"{self._url} ({self._model})", do=do)

    def _lives(self) -> bool:
        """Whether the endpoint answers what costs nothing."""
        try:
            self._caller.wire.models()
        except TryFailed as error:
            return error.failure.fault is not Fault.NOW
        return True

    def _listed(self) -> list[str] | None:
        try:
            return self._caller.wire.models()
        except TryFailed:
            return None


def named(models: list[str]) -> str:
    """Model names for a message."""
    more = f" and {len(models) - NAMED} more" if len(models) > NAMED else ""
    return ", ".join(models[:NAMED]) + more if models else "no model"


def _sum(counts: tuple[int | None, ...]) -> int | None:
    """The sum, None if one of them was not told."""
    told = [count for count in counts if count is not None]
    return sum(told) if len(told) == len(counts) else None
