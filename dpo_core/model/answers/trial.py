"""Whether a model's answers can be made in slots: tried on the model, as for log-probs, not guessed from its name."""

import weakref

import torch
from torch import Tensor
from transformers import PreTrainedModel

from dpo_core.model.answers.slots import Beginning, Slots
from dpo_core.model.attention import UnsupportedAttentionError
from dpo_core.model.modes import TOLERANCE, expected_windows

_IDS = tuple(int(i) for i in torch.randint(3, 100, (64,), generator=torch.Generator().manual_seed(1)))
PROMPTS = (_IDS[:24], _IDS[:18] + _IDS[24:33], _IDS[33:36])  # two that begin alike, and a short one
ANSWERS = (_IDS[40:46], _IDS[46:52], _IDS[52:58])
LEAVES = (2, 0)  # after the step, the row: the last row takes its place
# What was found: a trial takes as long as a turn of a chat.
_TRIED: weakref.WeakKeyDictionary[PreTrainedModel, str] = weakref.WeakKeyDictionary()


def obstacle(model: PreTrainedModel) -> str:
    """Why this model's answers cannot be made in slots; empty if they can. Tried once, unless the trial breaks off."""
    if model in _TRIED:
        return _TRIED[model]
    device = next(model.parameters()).device
    try:
        with torch.autocast(device.type, enabled=False), torch.no_grad():
            expected = [_plain(model, prompt, answer) for prompt, answer in zip(PROMPTS, ANSWERS, strict=True)]
            found = _in_slots(model)
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    both = zip(found, expected, strict=True)
    off = float(torch.stack([(ours - theirs[: len(ours)]).abs().max() for ours, theirs in both]).max())
    _TRIED[model] = "" if off <= TOLERANCE else f"log-probs of a trial off by {off:.4f} nats"
    return _TRIED[model]


def _plain(model: PreTrainedModel, prompt: tuple[int, ...], answer: tuple[int, ...]) -> Tensor:
    ids = torch.tensor([[*prompt, *answer]], device=next(model.parameters()).device)
    logits: Tensor = model(input_ids=ids, use_cache=False).logits[0]
    return logits[len(prompt) - 1 :].float().log_softmax(-1)


def _in_slots(model: PreTrainedModel) -> list[Tensor]:
    """Log-probs after each prompt and each token of its answer."""
    slots = Slots(model)
    with slots.at_work():
        computed = slots.compute(PROMPTS)
        _check_windows(model, list(computed.prompts.layout.windows.values()))
        found = [[row] for row in computed.logits]
        slots.enter([Beginning(computed, number) for number in range(2)])
        slots.enter([Beginning(computed, 2)])
        rows = list(range(3))
        for place in range(len(ANSWERS[0])):
            for row, logits in zip(rows, slots.step([ANSWERS[row][place] for row in rows]), strict=True):
                found[row].append(logits)
            if place == LEAVES[0]:
                rows = [rows[i] for i in slots.leave([LEAVES[1]])]
    return [torch.stack(logits).float().log_softmax(-1) for logits in found]


def _check_windows(model: PreTrainedModel, found: list[int | None]) -> None:
    """The trial is shorter than most windows: it cannot tell a layer that forgets its own."""
    wanted = expected_windows(model.config.get_text_config())
    if len(found) != len(wanted):
        raise UnsupportedAttentionError(f"{len(found)} of {len(wanted)} layers used the attention they were given")
    if found != wanted:
        raise UnsupportedAttentionError(f"layers ask for windows {found} where the configuration says {wanted}")
