import json

import pytest
import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

from dpo_core.errors import InputError
from dpo_core.rewards.classifier import ClassifierReward, load_classifier
from dpo_core.rewards.config import Classifier
from dpo_core.rewards.reward import Unscored
from tests.tiny import build_tiny_model, build_tiny_tokenizer

ASKED = [{"role": "user", "content": "What is the sea?"}]
ANSWERS = [
    "Blue.",
    "It is a large body of salt water, blue and deep, with fish in it.",
    "",
    "<|im_end|> no token of yours",
]


def built(folder, *, pad=True, template=True, **labels):
    tokenizer = build_tiny_tokenizer()
    if not template:
        tokenizer.chat_template = None
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=256, **labels,
        pad_token_id=tokenizer.pad_token_id if pad else None,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        LlamaForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def logits_of(folder, prompt_and_answer):
    loaded = load_classifier(folder)
    ids = loaded.tokenizer(prompt_and_answer, add_special_tokens=False, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        return loaded.model(ids).logits[0]


def chat(answer):
    return f"<|im_start|>user\nWhat is the sea?<|im_end|>\n<|im_start|>assistant\n{answer}<|im_end|>\n"


@pytest.mark.parametrize("pad", [True, False])
@pytest.mark.parametrize("size", [1, 3])
def test_a_reward_model_scores_as_a_direct_forward_of_each_conversation(tmp_path, pad, size):
    folder = built(tmp_path, pad=pad, num_labels=1)
    reward = ClassifierReward(load_classifier(folder), Classifier(model="m", batch_size=size))
    scores = reward.score(ASKED, ANSWERS[:3], {})
    assert scores == pytest.approx([logits_of(folder, chat(answer)).item() for answer in ANSWERS[:3]], abs=1e-5)
    assert len(set(scores)) == 3


def test_a_token_that_an_answer_spells_does_not_end_its_turn(tmp_path):
    reward = ClassifierReward(load_classifier(built(tmp_path, num_labels=1)), Classifier(model="m"))
    [spelt] = reward.score(ASKED, [ANSWERS[3]], {})
    assert spelt != pytest.approx(logits_of(tmp_path, chat(ANSWERS[3])).item(), abs=1e-5)


def test_of_several_labels_the_log_probability_of_the_one_named_is_the_reward(tmp_path):
    folder = built(tmp_path, id2label={0: "bad", 1: "so so", 2: "good"}, label2id={"bad": 0, "so so": 1, "good": 2})
    reward = ClassifierReward(load_classifier(folder), Classifier(model="m", label="good"))
    wanted = [torch.log_softmax(logits_of(folder, chat(answer)), dim=0)[2].item() for answer in ANSWERS[:2]]
    assert reward.score(ASKED, ANSWERS[:2], {}) == pytest.approx(wanted, abs=1e-5)
    for label in (None, "Good"):
        with pytest.raises(InputError, match="the model has 3 labels, and label is") as caught:
            ClassifierReward(load_classifier(folder), Classifier(model="m", label=label))
        assert caught.value.do == "name the good one: bad, good, so so"


def test_a_model_without_a_chat_template_reads_two_segments(tmp_path):
    folder = built(tmp_path, template=False, num_labels=1)
    [score] = ClassifierReward(load_classifier(folder), Classifier(model="m")).score(ASKED, ["Blue."], {})
    assert score == pytest.approx(logits_of(folder, "What is the sea?Blue.").item(), abs=1e-5)


def test_an_answer_that_does_not_fit_is_refused_not_cut(tmp_path):
    reward = ClassifierReward(load_classifier(built(tmp_path, num_labels=1)), Classifier(model="m"))
    with pytest.raises(Unscored, match=r"prompt and answer have \d+ tokens, classifier reads 256"):
        reward.score(ASKED, ["Blue.", "x" * 300], {})


def test_a_language_model_is_no_reward_model_for_its_head_would_be_drawn_by_lot(tmp_path):
    with pytest.raises(InputError, match=r"parameters come from no file \(score.weight\)"):
        load_classifier(build_tiny_model(tmp_path))


def test_pickles_and_code_of_its_own_are_refused_unread(tmp_path):
    folder = built(tmp_path, num_labels=1)
    (folder / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(InputError, match="can run code"):
        load_classifier(folder)
    (folder / "pytorch_model.bin").unlink()
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForSequenceClassification": "other/place--modeling.Own"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="auto_map"):
        load_classifier(folder)
