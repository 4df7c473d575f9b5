"""A reward model, or a classifier, of transformers: its logit, or the log-probability of one of its labels."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from dpo_core.data.pairs import Message, text_of
from dpo_core.errors import InputError
from dpo_core.model.chat_template import ChatTemplate, Refused
from dpo_core.model.folder.files import require_model_folder
from dpo_core.model.folder.sizes import quiet, require_all_used, unloadable
from dpo_core.model.folder.trial import require_bounded
from dpo_core.model.load import require_finite, without_dropout
from dpo_core.rewards.config import Classifier
from dpo_core.rewards.reward import Unscored, place_of

NO_LIMIT = 10**6  # tokens: what tokenizers write that know no limit is far above


class LoadedClassifier(NamedTuple):
    """A sequence classification model in fp32, and its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


LoadClassifier = Callable[[str], LoadedClassifier]  # from what the recipe names


def load_classifier(folder: str | Path) -> LoadedClassifier:
    """A model folder with a classification head, fp32, dropout off, from safetensors only. Raises InputError.

    As for a language model, every parameter comes from a file of the folder and every tensor is used, so a head that
    the files lack is refused and not drawn by lot; no code of the folder's own is run.
    """
    folder = Path(folder)
    require_model_folder(folder)
    require_bounded(folder)
    options: dict[str, Any] = {"dtype": torch.float32, "use_safetensors": True, "local_files_only": True}
    try:
        with quiet():
            loaded: Any = AutoModelForSequenceClassification.from_pretrained(
                str(folder), output_loading_info=True, **options
            )
            tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:
        raise unloadable(folder, error) from None
    model: PreTrainedModel = loaded[0]
    require_all_used(folder, loaded[1])
    require_finite(folder, model)
    without_dropout(model)
    model.eval()
    return LoadedClassifier(model, tokenizer)


class ClassifierReward:
    """The logit of a model with one output; of one with several labels the log-probability of `label`.

    Prompt and answer go through the tokenizer's chat template; without one, as two segments of text. Nothing is cut.
    """

    def __init__(self, loaded: LoadedClassifier, config: Classifier, *, name: str = "classifier") -> None:
        self.name, self.config = name, config
        self.model, self.tokenizer = loaded
        self._label = _label_of(self.model, config, name)
        self._template = ChatTemplate(self.tokenizer) if self.tokenizer.chat_template else None
        self._pad = getattr(self.model.config.get_text_config(), "pad_token_id", None)
        self._longest = _longest(self.model, self.tokenizer, config)

    def score(self, prompt: Sequence[Message], answers: Sequence[str], wanted: Mapping[str, object]) -> list[float]:
        """Nats each. Raises Unscored where an answer does not fit, or no template writes it."""
        rows = [self._encoded(prompt, answer, place_of(prompt, wanted)) for answer in answers]
        order = sorted(range(len(rows)), key=lambda place: len(rows[place]["input_ids"]))
        size = self.config.batch_size if self._pad is not None else 1  # without it transformers takes one at a time
        scores = [0.0] * len(rows)
        for first in range(0, len(order), size):
            batch = order[first : first + size]
            for place, score in zip(batch, self._forward([rows[place] for place in batch]), strict=True):
                scores[place] = score
        return scores

    def _encoded(self, prompt: Sequence[Message], answer: str, where: str) -> dict[str, list[int]]:
        if self._template is None:
            row: dict[str, list[int]] = dict(self.tokenizer(text_of(prompt), answer))
        else:
            said: Message = {"role": "assistant", "content": answer}
            try:
                found = self._template.ids([self._template.text([*prompt, said])])[0]
            except Refused as refused:
                found = refused
            if isinstance(found, Refused):
                do = "leave the prompt out, or take a reward model whose chat template writes it"
                raise Unscored(f"the reward model {self.name} cannot read it: {found}", where=where, do=do)
            row = {"input_ids": found, "attention_mask": [1] * len(found)}
        if len(row["input_ids"]) > self._longest:
            says = f"prompt and answer have {len(row['input_ids'])} tokens, {self.name} reads {self._longest}"
            do = "sample shorter answers, leave the prompt out, or take a reward model with a longer context"
            raise Unscored(says, where=where, do=do)
        return row

    @torch.inference_mode()
    def _forward(self, rows: Sequence[Mapping[str, list[int]]]) -> list[float]:
        longest = max(len(row["input_ids"]) for row in rows)
        fill = {"input_ids": self._pad or 0}
        batch = {
            key: torch.tensor([row[key] + [fill.get(key, 0)] * (longest - len(row[key])) for row in rows])
            for key in rows[0]
        }
        logits = self.model(**{key: value.to(self.model.device) for key, value in batch.items()}).logits.float()
        if self._label is None:
            return [float(value) for value in logits[:, 0]]
        several = self.model.config.problem_type == "multi_label_classification"
        nats = F.logsigmoid(logits) if several else F.log_softmax(logits, dim=-1)
        return [float(value) for value in nats[:, self._label]]


def _label_of(model: PreTrainedModel, config: Classifier, name: str) -> int | None:
    labels = {str(label): int(number) for number, label in (model.config.id2label or {}).items()}
    where = f"rewards.{name}.label"
    if len(labels) == 1:
        if config.label is not None and config.label not in labels:
            says = f"the model has one output, and no label {config.label!r}"
            raise InputError(says, where=where, do="take label out: its output is the reward")
        return None
    if config.label not in labels:
        says = f"the model has {len(labels)} labels, and label is {config.label or 'unset'}"
        raise InputError(says, where=where, do=f"name the good one: {', '.join(sorted(labels)[:20])}")
    return labels[config.label]


def _longest(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, config: Classifier) -> int:
    limits = [config.max_length, getattr(model.config.get_text_config(), "max_position_embeddings", None)]
    limits.append(tokenizer.model_max_length)
    return min((limit for limit in limits if limit is not None and limit < NO_LIMIT), default=NO_LIMIT)
