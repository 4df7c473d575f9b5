"""Judges are held against people's labels before they decide anything."""

import logging

from dpo_core.evaluate.judges.judge_report import judge_report, require_kappa, require_labels
from dpo_core.evaluate.judges.labels import read_labels
from dpo_core.rewards.build import AskOf
from dpo_core.rewards.config import Rewards
from dpo_core.rewards.judge import Judge

log = logging.getLogger("dpo.curate")


def admitted(rewards: Rewards | None, ask: AskOf) -> dict[str, object]:
    """Each judge that has labels: its report. Raises InputError for one that agrees too little with people.

    Labels that are too few are told before anything is asked.
    """
    reports: dict[str, object] = {}
    for name, rules in (rewards.judges if rewards else {}).items():
        if rules.labels is None:
            continue
        labelled = read_labels(rules.labels)
        require_labels(name, labelled, where=rules.labels)
        report = judge_report(Judge(ask(rules), rules, name=name), labelled)
        log.info("judge name=%s labelled=%d kappa=%.3f", name, report.pairs, report.kappa.value)
        if rules.min_kappa is not None:
            require_kappa(report, rules.min_kappa, where=rules.labels)
        reports[name] = report.model_dump(mode="json")
    return reports
