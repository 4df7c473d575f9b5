"""Pairs in which one word is to be learnt: of many renderings one each, so that nothing else tells the sides apart."""

from collections import Counter
from collections.abc import Mapping, Sequence

from dpo_core.curate.prompts import PromptItem
from dpo_core.curate.renderings import rendered_pairs
from dpo_core.data.pairs import Pair
from dpo_core.data.shapes import to_pair
from dpo_core.errors import InputError
from tasks.curate.answer_store import StoredAnswer
from tasks.curate.records import CurationPlan

NO_RENDERING = "no rendering is short enough, or its sides are equal"


def rendered(
    plan: CurationPlan, items: Sequence[PromptItem], known: Mapping[tuple[str, int], StoredAnswer]
) -> tuple[list[Pair], dict[str, object]]:
    """The pairs in the order of the prompts, and what the stage's record says of them."""
    from dpo_core.model.encode import load_tokenizer

    rules = plan.curation.renderings
    assert rules is not None, "the recipe has renderings"
    if not plan.model_folder:
        do = "name a model of this machine as `model`: its tokenizer measures the answers"
        raise InputError("renderings are measured in a model's tokens", where=plan.model, do=do)
    own = {key: answer.text for (key, sample), answer in known.items() if sample == 0}
    rows = rendered_pairs(
        items,
        own,
        rules,
        load_tokenizer(plan.model_folder, trusted_code=plan.trusted_code),
        lot=rules.lot or str(plan.curation.seed),
        seed=plan.curation.seed,
    )
    pairs = [to_pair(row, f"{plan.name} {number}") for number, row in enumerate(rows, 1)]
    dropped = Counter({NO_RENDERING: len(items) - len(pairs)})
    return pairs, {"dropped": dict(+dropped), "notes": []}
