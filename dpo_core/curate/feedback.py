"""Pairs from what people said of answers that were served.

An expected answer is chosen over the model's; of two answers to one prompt a liked one is chosen over a disliked one.
Where people contradict each other nothing is decided: those answers are set aside with the reason, and come again until
somebody has changed a remark. Each trace is in one pair at most.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from dpo_core.curate.personal import PersonalData, cleaned, names_of
from dpo_core.curate.remarks import Opinion, RemarkRules, Said, distinct, off_scale, read_opinion, that_count
from dpo_core.data.messages import BadRow, as_compared, messages_of, require_turns, require_words, say, tools_of
from dpo_core.data.pairs import Message, Pair
from dpo_core.quality.prompts.identity import prompt_key

SAME = "the expected answer is the one that was given"
CUT_OFF = "a liked answer was cut off by the length that was asked for"


@dataclass(frozen=True)
class TracedAnswer:
    """One answer as it was served: `messages` as they were sent, `ended` false where its length cut it off."""

    trace_id: str
    when: int  # ms since 1970
    messages: Sequence[Mapping[str, object]]
    answer: str
    model: str  # as lineage names it: NAME/VERSION
    ended: bool = True
    tools: Sequence[Mapping[str, object]] = ()
    feedback: Sequence[Said] = ()
    expectations: Sequence[Said] = ()


class SetAside(NamedTuple):
    """Traces of which no pair was made, and why."""

    trace_ids: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class FeedbackPairs:
    """What came of some traces: `used` are those in `pairs`, in order; `counts` say what became of the others."""

    pairs: tuple[Pair, ...]
    quarantined: tuple[SetAside, ...]
    dropped: tuple[SetAside, ...]
    used: tuple[str, ...]
    counts: Mapping[str, int]


@dataclass
class _Answer:
    """One answer to one prompt, with all traces in which it was given."""

    prompt: list[Message]
    text: str
    tools: tuple[Mapping[str, object], ...]
    traces: list[TracedAnswer] = field(default_factory=list)
    opinion: Opinion = field(default_factory=Opinion)

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(sorted(trace.trace_id for trace in self.traces))

    @property
    def order(self) -> tuple[int, tuple[str, ...]]:
        return min(trace.when for trace in self.traces), self.ids

    @property
    def models(self) -> str:
        return ", ".join(sorted({trace.model for trace in self.traces}))


@dataclass
class _Made:
    """What is gathered on the way."""

    source: str
    personal_data: PersonalData
    pairs: list[Pair] = field(default_factory=list)
    quarantined: list[SetAside] = field(default_factory=list)
    dropped: list[SetAside] = field(default_factory=list)
    used: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def pairs_of_feedback(
    traced: Iterable[TracedAnswer],
    *,
    source: str,
    rules: RemarkRules | None = None,
    personal_data: PersonalData = "mask",
    used: Collection[str] = (),
) -> FeedbackPairs:
    """Pairs from served answers; traces in `used` are left out. The same traces give the same pairs in the same order.

    `meta` of a pair: `by` (expectation or votes), `traces`, `annotator`, `rejected_model`, `chosen_model` unless a
    person wrote it, `masked` (values of each kind that placeholders stand for). `source` is the pairs' source.
    """
    rules, made = rules or RemarkRules(), _Made(source, personal_data)
    for answers in _by_prompt(traced, rules, frozenset(used), made):
        sound = [answer for answer in answers if not _conflict(answer, made)]
        _by_expectation([answer for answer in sound if answer.opinion.expected], made)
        _by_votes([answer for answer in sound if not answer.opinion.expected], made)
    return FeedbackPairs(
        tuple(made.pairs), tuple(made.quarantined), tuple(made.dropped), tuple(made.used), dict(made.counts)
    )


def _by_prompt(
    traced: Iterable[TracedAnswer], rules: RemarkRules, used: frozenset[str], made: _Made
) -> list[list[_Answer]]:
    """Answers that somebody said something of: those of one prompt together, traces of one answer together."""
    new = {trace.trace_id: trace for trace in sorted(traced, key=lambda t: (t.when, t.trace_id))}
    made.counts["traces"], made.counts["used before"] = len(new), len(used & new.keys())
    counting: list[TracedAnswer] = []
    for trace in (trace for name, trace in new.items() if name not in used):
        votes = that_count(trace.feedback, rules.votes, made.counts)
        wanted = that_count(trace.expectations, rules.expectations, made.counts)
        if votes or wanted:
            counting.append(replace(trace, feedback=votes, expectations=wanted))
        else:
            made.counts["without a remark"] += 1
    off = off_scale((said for trace in counting for said in trace.feedback), rules.scale)
    prompts: dict[tuple[str, str], dict[str, _Answer]] = defaultdict(dict)
    for trace in counting:
        try:
            answer = _read(trace)
            read_opinion(trace.feedback, trace.expectations, rules, off)
        except BadRow as bad:
            made.quarantined.append(SetAside((trace.trace_id,), str(bad)))
            continue
        key = prompt_key(answer.prompt), json.dumps(answer.tools, sort_keys=True)
        [said] = distinct([say("assistant", answer.text)])
        prompts[key].setdefault(said, answer).traces.append(trace)
    for answer in (answer for answers in prompts.values() for answer in answers.values()):
        votes = [said for trace in answer.traces for said in trace.feedback]
        wanted = [said for trace in answer.traces for said in trace.expectations]
        answer.opinion = read_opinion(votes, wanted, rules, off)
    return [sorted(answers.values(), key=lambda answer: answer.order) for answers in prompts.values()]


def _read(trace: TracedAnswer) -> _Answer:
    """The prompt and the answer of a trace. Raises BadRow where they are none that can be trained on."""
    prompt = messages_of(list(trace.messages), "messages")
    require_turns(prompt)
    require_words(prompt, "prompt")
    if prompt[-1]["role"] == "assistant":
        raise BadRow("the prompt ends with the assistant")
    require_words(say("assistant", trace.answer), "answer")
    return _Answer(prompt, trace.answer, tools_of(list(trace.tools)))


def _conflict(answer: _Answer, made: _Made) -> bool:
    reason = answer.opinion.conflict(answer.text)
    if reason:
        made.quarantined.append(SetAside(answer.ids, reason))
    return bool(reason)


def _by_expectation(answers: list[_Answer], made: _Made) -> None:
    """Expected over given. All who expect something of one prompt must expect the same, unless it is one person."""
    wanted = [(person, text) for answer in answers for person, text in (answer.opinion.expected or {}).items()]
    if len({person for person, _ in wanted}) > 1 and len(distinct(text for _, text in wanted)) > 1:
        ids = sorted(i for answer in answers for i in answer.ids)
        made.quarantined.append(SetAside(tuple(ids), "people expect different answers to this prompt"))
        return
    for answer in answers:
        expected = answer.opinion.expected or {}
        chosen = next(iter(expected.values()))
        if as_compared(chosen) == as_compared(say("assistant", answer.text)):
            made.dropped.append(SetAside(answer.ids, SAME))
        else:
            _add(made, "expectation", chosen, expected, answer, None)


def _by_votes(answers: list[_Answer], made: _Made) -> None:
    """Liked over disliked, each once, the oldest first; what is left waits for its other half."""
    liked = [answer for answer in answers if answer.opinion.likes]
    for answer in [answer for answer in liked if not all(trace.ended for trace in answer.traces)]:
        made.dropped.append(SetAside(answer.ids, CUT_OFF))
        liked.remove(answer)
    disliked = [answer for answer in answers if answer.opinion.dislikes]
    for good, bad in zip(liked, disliked, strict=False):
        people = good.opinion.likes | bad.opinion.dislikes
        _add(made, "votes", say("assistant", good.text), people, bad, good)
    for word, left in (("liked", liked[len(disliked) :]), ("disliked", disliked[len(liked) :])):
        made.counts[f"{word}, waiting"] += sum(len(answer.traces) for answer in left)
    neither = [answer for answer in answers if not answer.opinion.likes and not answer.opinion.dislikes]
    made.counts["neither liked nor disliked"] += sum(len(answer.traces) for answer in neither)


def _add(
    made: _Made, way: str, chosen: list[Message], people: Iterable[str], bad: _Answer, good: _Answer | None
) -> None:
    """One pair, unless it holds what it may not."""
    ids = tuple(sorted([*bad.ids, *(good.ids if good else ())]))
    pair = Pair(
        prompt=tuple(bad.prompt),
        chosen=tuple(chosen),
        rejected=tuple(say("assistant", bad.text)),
        source=made.source,
        tools=bad.tools,
    )
    clean = cleaned(pair, made.personal_data)
    if clean.refused:
        made.quarantined.append(SetAside(ids, clean.refused))
        return
    meta: dict[str, object] = {"by": way, "traces": list(ids), "annotator": names_of(people, made.personal_data)}
    meta |= {"rejected_model": bad.models} | ({"chosen_model": good.models} if good else {})
    meta |= {"masked": clean.masked} if clean.masked else {}
    made.pairs.append(replace(clean.pair, meta=meta))
    made.used.extend(ids)
    made.counts[f"pairs by {way}"] += 1
