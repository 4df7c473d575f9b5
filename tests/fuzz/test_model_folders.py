"""Mutated model folders: refused in three parts, or the model that the folder's own bytes say, within time and memory.

FUZZ_CASES mutations (50) of one seed; FUZZ_RECORD=1 writes the counts to benchmarks/results.
"""

import contextlib
import json
import math
import os
import re
import resource
import shutil
import signal
import time
from collections import Counter
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from dpo_core.errors import InputError
from dpo_core.model.encode import load_tokenizer
from dpo_core.model.identity import digest_model, digest_tokenizer
from dpo_core.model.load import load_model
from infra.errors import InfraError
from tasks.runtime.models import local_model, require_usable
from tests.fuzz.model_mutations import MUTATIONS
from tests.tiny import build_tiny_model

CASES = int(os.environ.get("FUZZ_CASES", "50"))
SECONDS, MEMORY = 30, 2**30  # of a case, and by how much the process may grow in it
RECORD = Path(__file__).parents[2] / "benchmarks" / "results" / "fuzz_model_folders.json"
IDS = torch.tensor([[5, 6, 7, 8, 9, 40, 41, 2]])
NUMPY = {"F32": "<f4", "F16": "<f2", "F64": "<f8", "BF16": "<u2"}


class TooLongError(BaseException):
    """Not an Exception: nobody catches it."""


@contextlib.contextmanager
def within(seconds):
    def stop(*_):
        raise TooLongError

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def by_hand(folder):
    """Logits of a fresh model whose every weight was read from the bytes of the folder's files, without a library."""
    tensors = {}
    for file in folder.glob("*.safetensors"):
        data = file.read_bytes()
        start = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:start])
        for name, entry in header.items():
            if name != "__metadata__":
                first, last = entry["data_offsets"]
                raw = np.frombuffer(data[start + first : start + last], NUMPY[entry["dtype"]])
                if entry["dtype"] == "BF16":
                    raw = (raw.astype("<u4") << 16).view("<f4")
                tensors[name] = torch.from_numpy(raw.astype("<f4").copy()).reshape(entry["shape"])
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), dtype=torch.float32).eval()
    wanted = model.state_dict().keys()  # a decoder's own checkpoint names its tensors without the prefix
    tensors = {name if name in wanted else f"model.{name}": tensor for name, tensor in tensors.items()}
    if model.config.tie_word_embeddings and "lm_head.weight" not in tensors:
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    model.load_state_dict(tensors, strict=True)
    return model(IDS, use_cache=False).logits


def outcome(folder, home):
    """`refused: KIND` or `loaded`; raises AssertionError for another model than the folder's."""
    try:
        found = local_model(str(folder), home)
        digest_model(found), digest_tokenizer(found)
        require_usable(found)
        model, tokenizer = load_model(found), load_tokenizer(found)
    except (InputError, InfraError) as error:
        parts = (error.says, error.where, error.do)
        return f"refused: {kind(error.says)}" if all(parts) else f"fault: a part is empty: {parts}"
    with torch.no_grad():
        logits, expected = model(IDS, use_cache=False).logits, by_hand(found)
    assert logits.shape == expected.shape
    assert torch.allclose(logits, expected, atol=1e-3, rtol=1e-3, equal_nan=True), "another model than the folder's"
    assert max(tokenizer("Who are you?", split_special_tokens=True)["input_ids"]) < logits.shape[-1]
    return "loaded"


def kind(says):
    """The words of a refusal without its names, numbers and places."""
    words = re.sub(r"^\S+\.(json|jinja)(:\d+)? cannot", "a file cannot", says.partition(" (")[0])
    words = re.sub(r"\S+\.\S+", "NAME", words.partition(": ")[0])
    return " ".join(word for word in words.split() if not re.search(r"\d|['\"_]", word))[:70]


def cases():
    names = sorted(MUTATIONS)
    for number in range(CASES):
        random = Random(f"model folder {number}")
        yield number, random, names[number % len(names)] if number < len(names) else random.choice(names)


@pytest.mark.filterwarnings("ignore")
def test_a_mutated_folder_is_refused_in_three_parts_or_is_the_model_of_its_own_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr("dpo_core.model.folder.trial.SECONDS", 2)
    sound, counts, faults, slowest = build_tiny_model(tmp_path / "sound"), Counter(), [], 0.0
    begun = time.monotonic()
    for number, random, name in cases():
        shutil.rmtree(tmp_path / "case", ignore_errors=True)
        folder = Path(shutil.copytree(sound, tmp_path / "case" / "model"))
        MUTATIONS[name](folder, random)
        start, peak = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            with within(SECONDS):
                found = outcome(folder, tmp_path / "case" / "home")
        except (Exception, TooLongError) as error:
            found = "exceeded" if isinstance(error, TooLongError) else "fault"
            faults.append(f"{name} {number}: {type(error).__name__}: {str(error)[:300]}")
        if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak > MEMORY >> 10:
            found = "exceeded"
            faults.append(f"{name} {number}: more than {MEMORY >> 20} MiB")
        slowest = max(slowest, time.monotonic() - start)
        if found.startswith("fault: "):
            faults.append(f"{name} {number}: {found}")
        counts[found.partition(": ")[0] if found.startswith("fault") else found] += 1
        if name == "nothing" and found != "loaded":
            faults.append(f"{name} {number}: {found}")
    record(counts, slowest, time.monotonic() - begun)
    assert counts["loaded"] >= math.floor(CASES / 50)
    assert not faults, "\n".join(faults)


def record(counts, slowest, seconds):
    if os.environ.get("FUZZ_RECORD") != "1":
        return
    refused = {name.removeprefix("refused: "): count for name, count in counts.most_common() if ":" in name}
    found = {"cases": CASES, "loaded": counts["loaded"], "refused": sum(refused.values()), "refused_by_kind": refused}
    found |= {"exceeded": counts["exceeded"], "faults": counts["fault"]}
    found |= {"seconds": round(seconds, 1), "slowest_s": round(slowest, 1), "seconds_allowed": SECONDS}
    RECORD.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
