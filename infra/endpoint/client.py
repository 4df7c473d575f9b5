"""An OpenAI-compatible endpoint (vLLM, SGLang, `transformers serve`, hosted ones): requests in, answers out, once."""

import logging
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import NamedTuple

from infra.endpoint.asker import Asker, Outcome, named
from infra.endpoint.caller import LONGEST_ASKED_S, Caller, Stopped
from infra.endpoint.chat import ChatRefused, ChatRequest, checked_url
from infra.endpoint.failures import TryFailed
from infra.endpoint.record import CallRecord
from infra.endpoint.spending import Budget, Purse, Spent
from infra.endpoint.wire import Wire
from infra.errors import BadSetting
from infra.store.base import Store

log = logging.getLogger("dpo.endpoint")
API_KEY = "OPENAI_API_KEY"
SLACK_S = 30.0  # of a lease: the store's and the machine's own time


class EndpointCounts(NamedTuple):
    """Calls of this process: paid for now, found in the record, and of the first those that were in doubt before."""

    paid: int
    from_record: int
    asked_again: int


class Endpoint:
    """One model at one address, for one curation (`scope`), whose budget it keeps over restarts.

    `retries` are tries after the first. `timeout_s` is of one try, in seconds; `patience_s` how long a store that is
    away is waited for. The key is the value of the environment variable `api_key_env`; none is sent where that is
    unset. Raises BadSetting.
    """

    def __init__(
        self,
        url: str,
        model: str,
        store: Store,
        *,
        budget: Budget,
        scope: str,
        api_key_env: str = API_KEY,
        at_once: int = 8,
        timeout_s: float = 120.0,
        retries: int = 5,
        patience_s: float = 120.0,
    ) -> None:
        self.url, self.model, self.api_key_env = checked_url(url), model, api_key_env
        if at_once < 1 or retries < 0 or timeout_s <= 0 or budget.calls < 0 or budget.tokens < 0:
            says = f"at_once {at_once}, retries {retries}, timeout_s {timeout_s}, {budget}: one of them cannot be"
            raise BadSetting(says, where=self.url, do="at_once of 1 or more, timeout_s above 0, nothing below 0")
        self._at_once = at_once
        record = CallRecord(store, lease_s=2 * timeout_s + LONGEST_ASKED_S + SLACK_S, patience_s=patience_s)
        spending = Purse(store, scope, budget, record.tokens, patience_s=patience_s)
        wire = Wire(self.url, api_key_env=api_key_env, timeout_s=timeout_s, at_once=at_once)
        self._caller = Caller(wire, record, spending, retries)
        self._asker = Asker(self._caller, self.url, model)

    def require_there(self) -> list[str] | None:
        """The models that the endpoint lists, None if it lists none; it costs nothing. A model that is missing is told.

        Raises Unavailable, BadSetting (key, address, no API).
        """
        try:
            models = self._caller.wire.models()
        except TryFailed as error:
            raise self._asker.error(error.failure) from None
        if models is not None and self.model not in models:
            log.warning("model_not_listed model=%r url=%r listed=%r", self.model, self.url, named(models))
        return models

    def replies(self, requests: Iterable[ChatRequest]) -> Iterator[tuple[int, Outcome]]:
        """Each request's number and what came of it, as they come; at most `at_once` are under way.

        After an error no call is begun; those under way are waited for, kept and given out, then it is raised:
        BudgetSpent, Unavailable, BadSetting, Rejected (every request is refused), or the store's.
        """
        stop, trouble = threading.Event(), None
        under_way: dict[Future[Outcome], int] = {}
        source = enumerate(requests)
        outcomes, reasons = 0, list[str]()
        with ThreadPoolExecutor(self._at_once, thread_name_prefix="endpoint") as pool:
            try:
                while True:
                    while trouble is None and len(under_way) < self._at_once and (item := next(source, None)):
                        under_way[pool.submit(self._asker.outcome, item[1], stop)] = item[0]
                    if not under_way:
                        break
                    for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                        index = under_way.pop(future)
                        if error := future.exception():
                            trouble = error if trouble is None or isinstance(trouble, Stopped) else trouble
                            stop.set()
                            continue
                        outcome = future.result()
                        outcomes += 1
                        if isinstance(outcome, ChatRefused):
                            reasons.append(outcome.reason)
                        yield index, outcome
            finally:
                stop.set()
        if trouble is not None:
            raise trouble
        self._asker.require_answers(outcomes, len(reasons), reasons[-1] if reasons else "")

    def spent(self) -> Spent:
        """What the scope has spent, in all runs."""
        return self._caller.spending.spent()

    def counts(self) -> EndpointCounts:
        """What this process did."""
        of = self._caller.counts.of
        return EndpointCounts(of["paid"], of["from_record"], of["asked_again"])

    def close(self) -> None:
        """Close the connections; everything is kept already."""
        self._caller.wire.close()
