"""What only a GPU can tell, in one command: is the CUDA attention right, and how fast is a step against TRL's.

    python benchmarks/gpu_checks.py        # writes results/gpu_checks.json; under 8 minutes on one H100

1. Attention over segments of unequal length in one kernel, forward and backward, grouped heads, windows: against
   the same in fp64 with explicit masks.
2. A Llama of about 1B random weights in bf16: a step of TRL at its best (T3) and of ours (O4), their peak memory, and
   the share of the speed of a matrix product, as in train_step.py.
"""

import json
import subprocess
import sys
import tempfile
from importlib.metadata import version
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import torch
from train_step import ROOT, make_batches, useful_flops

from dpo_core.model.attention import attend
from dpo_core.model.layout import Layout, lay_out

RESULTS = Path(__file__).parent / "results" / "gpu_checks.json"
PAIRS = {"200/300/300": 16, "1500/50/50": 8, "3000/200/200": 4}  # a step
LLAMA_1B = {
    "vocab_size": 128_256,
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
}


def attention_errors(device: str) -> list[dict[str, Any]]:
    """The largest error of output and gradients in bf16, relative to the largest value, against fp64."""
    rows = []
    for head_dim, (heads, groups), window in product((64, 128), ((8, 8), (8, 2)), (None, 37)):
        layout = lay_out([((1,) * 90, (2,) * 41), ((1,) * 90, (2,) * 7), ((3,) * 5, (4,) * 130)], share=True)
        tokens = layout.input_ids.shape[1]
        draw = torch.Generator().manual_seed(0)
        shapes = ((heads, head_dim), (groups, head_dim), (groups, head_dim))
        inputs = [torch.randn(1, n, tokens, d, generator=draw, dtype=torch.float64) for n, d in shapes]
        pull = torch.randn(1, tokens, heads, head_dim, generator=draw, dtype=torch.float64)
        expected = _run([tensor.clone() for tensor in inputs], pull, layout, window)
        ours = _run([t.to(device, torch.bfloat16) for t in inputs], pull, layout.to(torch.device(device)), window)
        errors = {
            name: float((a.cpu().double() - b).abs().max() / b.abs().max())
            for name, a, b in zip(("out", "dq", "dk", "dv"), ours, expected, strict=True)
        }
        options = {"head_dim": head_dim, "heads": heads, "groups": groups, "window": window}
        rows.append({**options, **errors, "ok": max(errors.values()) < 0.03})
    return rows


def _run(inputs: list[torch.Tensor], pull: torch.Tensor, layout: Layout, window: int | None) -> list[torch.Tensor]:
    leaves = [tensor.requires_grad_() for tensor in inputs]
    out, _ = attend(torch.nn.Module(), *leaves, None, layout=layout, sliding_window=window)
    (out * pull.to(out)).sum().backward()
    return [out.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]


def steps(device: str) -> list[dict[str, Any]]:
    """A row a shape and arm: pairs a second, utilisation, peak memory."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from tests.tiny import build_tiny_model

    rows = []
    with tempfile.TemporaryDirectory() as place:
        model = build_tiny_model(Path(place) / "model")  # for its tokenizer
        torch.manual_seed(0)
        LlamaForCausalLM(LlamaConfig(**LLAMA_1B)).save_pretrained(model)
        for shape, size in PAIRS.items():
            batches = make_batches(shape, model, size=size)
            for pair in (pair for batch in batches for pair in batch):
                pair |= {"ref_chosen_logps": -1000.0, "ref_rejected_logps": -1000.0}
            for arm in ("T3", "O4"):
                order = {"shape": shape, "dtype": "bfloat16", "model": str(model), "threads": 4, "arm": arm}
                path = Path(place) / "order.json"
                path.write_text(json.dumps({**order, "device": device, "batches": batches}))
                command = [sys.executable, str(ROOT / "benchmarks/train_step.py"), "--order", str(path)]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, check=False)
                if done.returncode:
                    rows.append({"shape": shape, "arm": arm, "failed": done.returncode})
                    continue
                found = json.loads(done.stdout.splitlines()[-1])
                work = useful_flops(batches[0], LLAMA_1B, frozen_head=False)
                seconds = median(found["seconds"])
                rows.append(
                    {
                        "shape": shape,
                        "arm": arm,
                        "pairs_per_second": size / seconds,
                        "useful_flop_utilisation": work / seconds / found["flops"],
                        "peak_memory_bytes": found["peak"] - found["state_bytes"],
                        "logps": found["logps"][:2],
                    }
                )
    return rows


def main() -> None:
    """Run both, print and save."""
    device = "cuda" if torch.cuda.is_available() else sys.exit("no CUDA device: nothing was checked")
    document = {
        "schema": 1,
        "machine": torch.cuda.get_device_name(),
        "versions": {name: version(name) for name in ("torch", "transformers", "accelerate", "trl")},
        "attention": attention_errors(device),
        "rows": steps(device),
    }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
