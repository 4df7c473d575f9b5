"""Log-probabilities of responses: one forward for training, reference and evaluation."""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from dpo_core.model.attention import NotOursError, segment_attention
from dpo_core.model.head import Head, PairsLoss, pairs_loss, sequence_sums, token_logprobs, token_metrics
from dpo_core.model.layout import Ids, Layout, at_least_fp32, lay_out

log = logging.getLogger("dpo.model")
Rung = Literal["shared", "packed", "padded"]
RUNGS: tuple[Rung, ...] = ("shared", "packed", "padded")
TOLERANCE = 1e-3  # nats a token, in fp32: rounding moves a token by 1e-5, a mixed-up position by whole nats


@dataclass(frozen=True)
class Path:
    """How log-probs are computed, and why not on a better path.

    `shared`: packed rows, a prompt once for all its responses; `packed`: every response with its own copy of the
    prompt; `padded`: transformers as it comes.
    """

    rung: Rung
    head: bool  # our tiled head, else the model's own logits
    why: str = ""

    @property
    def share(self) -> bool:
        """Whether equal prompts are laid out once."""
        return self.rung == "shared"


class Scorer(torch.nn.Module):
    """A causal language model that gives log-probs of laid-out responses; made by `scoring`, wrapped by accelerate."""

    def __init__(self, model: torch.nn.Module, path: Path, head: Head | None) -> None:
        super().__init__()
        self.model = model
        self.path = path
        self._scale, self._softcap = (head.scale, head.softcap) if head else (1.0, None)

    def forward(
        self, layout: Layout, loss: PairsLoss | None = None, *, measure: bool = False
    ) -> tuple[Tensor | None, Float[Tensor, " H"], Float[Tensor, "2 H"] | None]:
        """Log-prob of every response token (nats, fp32, detached).

        With `loss`, its sum over the row's pairs before them; then with `measure`, `token_metrics` after them.
        """
        if self.path.head:
            hidden = self._hidden(layout)
            if loss is None:
                return None, token_logprobs(self._head(), hidden, layout.targets), None
            return pairs_loss(self._head(), hidden, layout.targets, layout.lengths, loss, measure=measure)
        shares = torch.log_softmax(at_least_fp32(self._logits(layout)), -1)
        logps = shares.gather(1, layout.targets[:, None])[:, 0]
        if loss is None:
            return None, logps.detach(), None
        metrics = token_metrics(shares.detach(), layout.targets) if measure else None
        return loss(0, sequence_sums(logps, layout.owner, len(layout.lengths))), logps.detach(), metrics

    def _hidden(self, layout: Layout) -> Float[Tensor, "H D"]:
        decoder = cast(torch.nn.Module, decoder_of(self.model))
        rows: Tensor = decoder(
            input_ids=layout.input_ids, position_ids=layout.position_ids, use_cache=False, layout=layout
        ).last_hidden_state
        return rows[0].index_select(0, layout.head_rows)

    def _head(self) -> Head:
        output = _plain(self.model).get_output_embeddings()
        return Head(output.weight, output.bias, self._scale, self._softcap)

    def _logits(self, layout: Layout) -> Float[Tensor, "H V"]:
        if self.path.rung != "padded":
            options: dict[str, Any] = {"layout": layout, "logits_to_keep": layout.head_rows}
            inputs = {"input_ids": layout.input_ids, "position_ids": layout.position_ids}
            found: Tensor = self.model(**inputs, use_cache=False, **options).logits[0]
            return found
        return _padded_logits(self.model, layout)


@contextlib.contextmanager
def scoring(model: torch.nn.Module) -> Iterator[Scorer]:
    """`model` on the best path that gives its own log-probs, tried on it, not guessed from its name.

    Inside, the model attends by layouts and cannot generate; afterwards it is as before.
    """
    plain = _plain(model)
    expected = _probe(Scorer(model, Path("padded", head=False), None))
    why: list[str] = []
    for rung in RUNGS[:-1]:
        with segment_attention(plain):
            if fault := _fault(Scorer(model, Path(rung, head=False), None), expected):
                why.append(f"{rung}: {fault}")
                continue
            head = _matching_head(model, rung, expected)
            path = Path(rung, head is not None, "; ".join([*why, *([] if head else ["the head is not a plain one"])]))
            log.info(
                "log_probs rung=%s head=%s%s", rung, "tiled" if head else "model", f" ({path.why})" if path.why else ""
            )
            yield Scorer(model, path, head)
            return
    path = Path("padded", head=False, why="; ".join(why))
    log.warning("log_probs rung=padded (%s)", path.why)
    yield Scorer(model, path, None)


def decoder_of(model: torch.nn.Module) -> torch.nn.Module | None:
    """The part of a causal language model that ends in hidden states."""
    plain = _plain(model)
    inner = plain.get_decoder()
    if inner is plain:
        inner = getattr(plain, plain.base_model_prefix, plain)
    return None if inner is plain else inner


def _plain(model: torch.nn.Module) -> PreTrainedModel:
    """The transformers model inside peft's wrapper, with its adapters."""
    inner = getattr(model, "get_base_model", None)
    return cast(PreTrainedModel, inner() if inner else model)


_PROBE = tuple(int(i) for i in torch.randint(3, 100, (64,), generator=torch.Generator().manual_seed(0)))
_PROBE_SEQUENCES = (
    (_PROBE[:24], _PROBE[24:33]),
    (_PROBE[:24], _PROBE[33:45]),
    (_PROBE[45:58], _PROBE[58:62]),
    (_PROBE[45:58], _PROBE[62:63]),
)


@torch.no_grad()
def _probe(scorer: Scorer) -> Tensor:
    device = next(scorer.parameters()).device
    layout = lay_out(_PROBE_SEQUENCES, share=scorer.path.share).to(device)
    logps = scorer(layout)[1]
    if scorer.path.rung != "padded":
        wanted = _windows(_plain(scorer.model).config.get_text_config())
        if len(layout.windows) != len(wanted):
            raise NotOursError(f"{len(layout.windows)} of {len(wanted)} layers used the attention they were given")
        if (found := list(layout.windows.values())) != wanted:
            raise NotOursError(f"layers ask for windows {found} where the configuration says {wanted}")
    return cast(Tensor, logps)


def _windows(config: Any) -> list[int | None]:
    """The window of each layer: the trial is shorter than most, so it cannot tell a layer that forgets its own."""
    window = getattr(config, "sliding_window", None) or None
    every = "sliding_attention" if window else "full_attention"
    types = getattr(config, "layer_types", None) or [every] * config.num_hidden_layers
    known = {"full_attention": None, "sliding_attention": window}
    if unknown := sorted(set(types) - set(known)):
        raise NotOursError(f"layers of type {', '.join(unknown)}")
    return [known[kind] for kind in types]


def _fault(scorer: Scorer, expected: Tensor) -> str:
    """Why a path does not give this model's log-probs; empty if it does."""
    try:
        found = _probe(scorer)
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    off = float((found - expected).abs().max())
    return "" if off <= TOLERANCE else f"log-probs of a trial off by {off:.4f} nats"


def _matching_head(model: torch.nn.Module, rung: Rung, expected: Tensor) -> Head | None:
    """The plain head with the factor and softcap that give the model's own log-probs."""
    plain = _plain(model)
    output: Any = plain.get_output_embeddings()
    if decoder_of(model) is None or type(output) is not torch.nn.Linear:
        return None
    config = plain.config.get_text_config()
    factors = [getattr(config, name, None) for name in ("logit_scale", "logits_scaling", "lm_head_multiplier")]
    known = [float(factor) for factor in factors if isinstance(factor, int | float) and factor]
    for scale in dict.fromkeys([1.0, *known, *(1 / factor for factor in known)]):
        head = Head(output.weight, output.bias, scale, getattr(config, "final_logit_softcapping", None))
        if not _fault(Scorer(model, Path(rung, head=True), head), expected):
            return head
    return None


def _padded_logits(model: torch.nn.Module, layout: Layout) -> Float[Tensor, "H V"]:
    """One response a line, its prompt before it, padded on the right: no real position of a causal model sees a pad."""
    ids, rows = layout.input_ids[0], layout.head_rows.split(layout.lengths)
    lines = [ids[segment.start : segment.stop] for segment in layout.segments]  # nothing is shared on this path
    wanted = torch.zeros(len(lines), max(map(len, lines)), dtype=torch.bool, device=ids.device)
    for line, tokens, response in zip(wanted, lines, rows, strict=True):
        line[len(tokens) - len(response) : len(tokens)] = True
    input_ids = torch.nn.utils.rnn.pad_sequence(lines, batch_first=True)
    logits: Tensor = model(input_ids=input_ids, use_cache=False, logits_to_keep=wanted).logits
    return logits if logits.dim() == 2 else logits[wanted]  # a model that takes no mask here returns every position


def by_length(sequences: Sequence[tuple[Ids, Ids]]) -> list[int]:
    """Indices, shortest prompts first, equal prompts together."""
    return sorted(
        range(len(sequences)), key=lambda i: (len(sequences[i][0]), tuple(sequences[i][0]), len(sequences[i][1]))
    )


def rows_of(sequences: Sequence[tuple[Ids, Ids]], tokens: int, *, share: bool) -> Iterator[list[int]]:
    """Indices of rows of at most `tokens` tokens, shortest first; with `share`, equal prompts stay together."""
    row: list[int] = []
    length = 0
    for index in by_length(sequences):
        prompt, response = sequences[index]
        joined = share and row and sequences[row[-1]][0] == prompt
        size = len(response) - 1 + (0 if joined else len(prompt))
        if row and length + size > tokens:
            yield row
            row, length, size = [], 0, len(response) - 1 + len(prompt)
        row.append(index)
        length += size
    if row:
        yield row


def score(
    model: torch.nn.Module, sequences: Sequence[tuple[Ids, Ids]], *, dtype: str = "float32", tokens: int = 2048
) -> Iterator[tuple[int, Float[Tensor, " R"]]]:
    """Yield (index, per-token log-probs in fp32) of every sequence, shortest prompts first.

    `dtype` is the arithmetic (autocast over fp32 weights), as in training; `tokens` those of a forward.
    """
    with scoring(model) as scorer:
        yield from score_with(scorer, sequences, dtype=dtype, tokens=tokens)


def score_with(
    scorer: Scorer, sequences: Sequence[tuple[Ids, Ids]], *, dtype: str = "float32", tokens: int = 2048
) -> Iterator[tuple[int, Float[Tensor, " R"]]]:
    """`score` with a model that is made ready already."""
    device = next(scorer.parameters()).device
    for indices in rows_of(sequences, tokens, share=scorer.path.share):
        layout = lay_out([sequences[i] for i in indices], share=scorer.path.share).to(device)
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bfloat16"):
            values = scorer(layout)[1].cpu()
        yield from zip(indices, values.split(layout.lengths), strict=True)
