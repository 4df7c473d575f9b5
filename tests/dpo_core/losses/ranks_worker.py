"""One step of every loss as one of some ranks. Arguments: MODELS FOLDER; rank 0 leaves what it found in FOLDER."""

import json
import os
import sys
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors.torch import save_file

from dpo_core.model.modes import scoring
from dpo_core.train.loop import _accumulate
from tests.dpo_core.losses.cases import CASES
from tests.dpo_core.losses.oracle import make_models


def main(models_folder: Path, folder: Path) -> None:
    torch.set_num_threads(1)
    accelerator = Accelerator(cpu=True)
    models = make_models(models_folder)
    gradients, losses = {}, {}
    with scoring(models.policy) as scorer:
        model = accelerator.prepare(scorer)
        for case in CASES:
            model.zero_grad()
            recipe = case.recipe.model_copy(update={"sft_weight": 0.5, "tokens_per_row": 60})
            sums, *_ = _accumulate(model, models.pairs, recipe, accelerator, method=scorer.method, delta=case.delta)
            losses[case.name] = sums[0].item() / len(models.pairs)
            gradients[case.name] = torch.cat([p.grad.flatten() for p in models.policy.parameters()])
    if accelerator.is_main_process:
        save_file(gradients, folder / "gradients.safetensors")
        (folder / "losses.json").write_text(json.dumps({"ranks": accelerator.num_processes, **losses}))
    accelerator.wait_for_everyone()
    os._exit(0)  # gloo's threads abort or hang now and then while an interpreter shuts down


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
