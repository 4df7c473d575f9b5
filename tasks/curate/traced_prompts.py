"""Prompts that served versions of a registered model were asked, as MLflow recorded them: `traces:NAME` as a source."""

import json
import logging
from collections import Counter
from pathlib import Path

from dpo_core.curate.personal import PersonalData, masked
from dpo_core.curate.prompt_set import TRACES, PromptSource
from dpo_core.data.digests import digest_json
from dpo_core.errors import InputError
from dpo_core.quality.text.placeholders import Placeholders
from infra.settings import load_settings
from infra.store import open_store
from infra.traces import RefusedTrace, ServedAnswer, served_answers, since_days
from tasks.runtime.sources import local_source, version_of_source

log = logging.getLogger("dpo.curate")


def version_of_prompts(source: PromptSource) -> str:
    """A digest that changes when the prompts of a source do. What traces ask is kept in the store under it.

    Raises InputError or InfraError for what is not there, or asks nothing.
    """
    if not source.path.startswith(TRACES):
        return version_of_source(source.path)
    rows, left_out = _asked(source)
    log.info("traces_read name=%s prompts=%d left_out=%d", source.path, len(rows), left_out.total())
    if not rows:
        says = "; ".join(f"{count}: {reason}" for reason, count in left_out.most_common()) or "there is none"
        do = "serve a version with MLFLOW_TRACKING_URI set (docs/serving.md), or name other prompts"
        raise InputError(f"no trace asks what can be asked again ({says})", where=source.path, do=do)
    version = digest_json(rows)
    store = open_store(load_settings())
    if not store.exists(_key(version)):
        store.put_bytes(_key(version), "".join(f"{json.dumps(row)}\n" for row in rows).encode())
    return version


def prompts_file(source: PromptSource, version: str, home: Path) -> str:
    """Where the prompts of a source are read from; those of traces are the ones that `version` names."""
    if not source.path.startswith(TRACES):
        return local_source(source.path, home)
    place = home / "downloads" / "traces" / f"{version}.jsonl"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(open_store(load_settings()).get_bytes(_key(version)))
    return str(place)


def _key(version: str) -> str:
    return f"data/{version}/traces.jsonl"


def _asked(source: PromptSource) -> tuple[list[dict[str, object]], Counter[str]]:
    """Rows of prompts, oldest first, none twice; and why the other traces give none."""
    rows: dict[str, dict[str, object]] = {}
    left_out: Counter[str] = Counter()
    name, since = source.path.removeprefix(TRACES), since_days(source.days)
    for found in served_answers(name, experiment=source.experiment, since=since, remarked=False):
        row, reason = ({}, found.reason) if isinstance(found, RefusedTrace) else _row(found, source.personal_data)
        if reason:
            left_out[reason] += 1
        else:
            rows.setdefault(digest_json(row), row)
    return list(rows.values()), left_out


def _row(answer: ServedAnswer, personal_data: PersonalData) -> tuple[dict[str, object], str]:
    """What was asked, without values that are somebody's; or the reason why it is not asked again."""
    asked: dict[str, object] = {"prompt": list(answer.messages), **({"tools": answer.tools} if answer.tools else {})}
    holds = Placeholders()
    clean = masked(asked, holds)
    if personal_data == "refuse" and holds.found:
        return {}, f"it holds personal data: {', '.join(holds.found)}"
    return asked if personal_data == "keep" else clean, ""
