"""Each seed of `training.seeds` trained and evaluated; the middle one goes on to the gate, a lucky one does not."""

import logging
import math
from collections.abc import Iterator, Sequence

from dpo_core.data.digests import digest_json
from infra.settings import load_settings
from infra.tracking.runs import attach_run, open_run
from tasks.evaluate import logged
from tasks.records import Evaluated, Plan, SeedModel, Trained
from tasks.runtime.tracked import tracked
from tasks.seeds.spread import first_metric

log = logging.getLogger("dpo.train")


def each_seed(plan: Plan) -> Iterator[Plan]:
    """The run of each seed, from the recipe's on; of several each has an MLflow run, nested in the run's."""
    seeds = range(plan.recipe.seed, plan.recipe.seed + plan.recipe.training.seeds)
    if len(seeds) == 1:
        yield plan
        return
    for seed in seeds:
        key, root = digest_json([plan.run_id, "seed", seed]), load_settings().artifact_root
        run = open_run(plan.recipe.name, run_key=key, run_name=f"seed {seed}", artifact_root=root, parent=plan.run_id)
        one = plan.model_copy(update={"training_seed": seed, "run_id": run.id})
        with tracked(one):
            yield one


def middle(plan: Plan, found: Sequence[SeedModel]) -> tuple[Plan, Trained, Evaluated]:
    """The median by the gate's first metric, of an even number the lower of the two: chosen by no luck.

    By the items that the gate sees: what is sealed from it selects nothing.
    """
    if len(found) == 1:
        return plan, found[0].trained, found[0].evaluated
    metric = first_metric(plan)
    ordered = sorted(found, key=lambda one: (one.evaluated.gated.get(metric, -math.inf), one.seed))
    chosen = ordered[(len(ordered) - 1) // 2]
    run = attach_run(plan.run_id)
    run.tags({"dpo.seed": chosen.seed})
    run.metrics({logged(name): metric.value for name, metric in chosen.evaluated.metrics.items()})
    log.info("seed_chosen seed=%d of=%d metric=%s", chosen.seed, len(found), metric)
    return plan.model_copy(update={"training_seed": chosen.seed}), chosen.trained, chosen.evaluated
