"""The gate on scores from elsewhere: the same function as in a run, with the conditions of a file and no others."""

from dpo_core.evaluate.gate import decide
from dpo_core.evaluate.score_file import read_scores
from dpo_core.rules_file import load_rules
from tasks.documents import GateCases, GateDocument


def judge_scores(scores: str, rules: str, looks: int) -> GateDocument | GateCases:
    """The verdict on a file's items, or on those of each of its cases. Raises InputError."""
    gate = load_rules(rules)
    documents = {}
    for name, case in read_scores(scores, gate).items():
        decision = decide(case.challenger, case.baseline, gate, anchor=case.anchor, looks=looks)
        documents[name] = GateDocument(**decision._asdict())
    if None in documents:
        return documents[None]
    return GateCases(cases={str(name): document for name, document in documents.items()})
