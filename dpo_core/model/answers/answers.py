"""Answers from any model: what evaluation, curation, chat and benchmarks call."""

import logging
from collections.abc import Callable, Collection, Iterator, Sequence

from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from dpo_core.data.pairs import Message
from dpo_core.errors import InputError
from dpo_core.model.answers.continuous import Continuous
from dpo_core.model.answers.decoding import Answer, Decoding, Effort, Made, Query, Tell
from dpo_core.model.answers.plain import by_generate
from dpo_core.model.answers.slots import Slots
from dpo_core.model.answers.trial import obstacle
from dpo_core.model.chat_template import ChatTemplate
from dpo_core.model.encode import encode_prompt
from dpo_core.model.logprobs import plain_model
from dpo_core.model.stops import stop_tokens

log = logging.getLogger("dpo.model")
WIDTH = 128  # answers in work: on two cores more make a row little cheaper and the end of a run longer

Refuse = Callable[[int, InputError], object]


class NoRoom(InputError):
    """A prompt fills the model's context."""


def answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[Message]],
    *,
    decoding: Decoding,
    samples: int = 1,
    wanted: Collection[tuple[int, int]] | None = None,
    width: int = WIDTH,
    memory: int | None = None,
    day: str | None = None,
    refuse: Refuse | None = None,
    counts: Effort | None = None,
    tell: Tell | None = None,
) -> Iterator[Answer]:
    """`samples` answers to each prompt, in the order in which they end; of these only (prompt, sample) in `wanted`.

    In fp32 an answer depends on the model, the decoding, its prompt's tokens and its sample number alone: not on
    `width` (answers in work at once), nor on what else is asked for. `memory`: bytes of keys and values, which may
    narrow the width. `day`: see ChatTemplate. A prompt that the template refuses, or that leaves no room in the
    context, raises InputError before anything is computed; with `refuse` it is told there and has no answers.
    `tell` gets each token as it is drawn; what it raises ends the work.
    """
    counts = counts if counts is not None else Effort()
    asked, owners = _asked(model, tokenizer, prompts, decoding, samples, wanted, day, refuse)
    stops = frozenset(stop_tokens(model.generation_config.eos_token_id, tokenizer))
    return _answers(plain_model(model), tokenizer, asked, owners, decoding, stops, max(1, width), memory, counts, tell)


def texts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[Message]],
    *,
    max_new_tokens: int,
    width: int = WIDTH,
    day: str | None = None,
) -> list[str]:
    """The likeliest answer to each prompt, in the order given."""
    found = [""] * len(prompts)
    decoding = Decoding(max_new_tokens)
    for answer in answers(model, tokenizer, prompts, decoding=decoding, width=width, day=day):
        found[answer.prompt] = answer.text
    return found


def reply(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: Sequence[Message],
    *,
    decoding: Decoding,
    tell: Tell,
) -> Answer:
    """One answer, the same as among many. `tell` gets each of its tokens as it is drawn; what it raises ends it.

    Raises NoRoom where the prompt fills the context, and InputError.
    """
    [answer] = answers(model, tokenizer, [prompt], decoding=decoding, width=1, tell=tell)
    return answer


def _answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    asked: Sequence[Query],
    owners: Sequence[dict[int, list[int]]],
    how: Decoding,
    stops: frozenset[int],
    width: int,
    memory: int | None,
    counts: Effort,
    tell: Tell | None,
) -> Iterator[Answer]:
    if not asked:
        return
    for made in _made(model, asked, how, stops, width, memory, counts, tell):
        text = str(tokenizer.decode(list(made.ids), skip_special_tokens=True)).strip()
        for prompt in owners[made.asked][made.sample]:
            ended = made.end is not None
            yield Answer(prompt, made.sample, text, len(made.ids), ended, made.ids, made.close, made.end)


def _made(
    model: PreTrainedModel,
    asked: Sequence[Query],
    how: Decoding,
    stops: frozenset[int],
    width: int,
    memory: int | None,
    counts: Effort,
    tell: Tell | None,
) -> Iterator[Made]:
    """In slots where a trial says that it gives the model's own logits."""
    why = obstacle(model)
    if tell is None and why:  # who is told each token is in a chat, where no line may come between
        log.warning('answers mode=generate why="%s"', why)
    elif tell is None:
        log.info("answers mode=slots width=%d", width)
    if why:
        return by_generate(model, asked, how, stops, width, counts, tell)
    return Continuous(Slots(model, counts, memory=memory), asked, how, stops, width, counts, tell).run()


def _asked(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[Message]],
    how: Decoding,
    samples: int,
    wanted: Collection[tuple[int, int]] | None,
    day: str | None,
    refuse: Refuse | None,
) -> tuple[list[Query], list[dict[int, list[int]]]]:
    """Every different prompt with the samples wanted of it, and by sample the numbers of the prompts that have it."""
    context = context_of(model.config)
    owners: dict[tuple[int, ...], dict[int, list[int]]] = {}
    template = ChatTemplate(tokenizer, day)
    for number, prompt in enumerate(prompts):
        some = [i for i in range(samples) if wanted is None or (number, i) in wanted]
        if not some:
            continue
        try:
            ids = prompt_ids(prompt, template, context)
        except InputError as error:
            named = type(error)(error.says, where=f"prompt {number + 1} of {len(prompts)}", do=error.do)
            if refuse is None:
                raise named from None
            refuse(number, named)
            continue
        for sample in some:
            owners.setdefault(ids, {}).setdefault(sample, []).append(number)
    asked = [Query(ids, tuple(sorted(of)), min(how.max_new_tokens, context - len(ids))) for ids, of in owners.items()]
    return asked, list(owners.values())


def prompt_ids(prompt: Sequence[Message], template: ChatTemplate, context: int) -> tuple[int, ...]:
    """What an answer goes on from. Raises InputError where the template refuses the prompt, or no room is left."""
    ids = tuple(encode_prompt(prompt, template.tokenizer, template=template))
    _require_room(len(ids), context)
    return ids


def _require_room(tokens: int, context: int) -> None:
    if tokens == 0:
        raise InputError("it has no tokens", where="", do="leave the prompt out, or write something in it")
    if tokens >= context:
        says = f"it has {tokens} tokens, the model reads {context} and none is left for an answer"
        raise NoRoom(says, where="", do="shorten the prompt, leave it out, or take a model that reads more")


def context_of(config: PreTrainedConfig) -> int:
    """Tokens that a model reads."""
    return int(getattr(config.get_text_config(), "max_position_embeddings", None) or 1 << 30)
