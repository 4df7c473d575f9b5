"""The data check of new pairs, before they are a version of anything."""

import json
import logging
from hashlib import sha256

from prefect import task
from prefect.cache_policies import NO_CACHE

from dpo_core.data.digests import digest_json
from dpo_core.data.pairs import lines_of
from infra.secrets import without_secrets
from infra.settings import load_settings
from infra.store import open_store
from tasks.check import FILES, document_of, keep_report, report_here
from tasks.curate.records import CurationPlan, Paired, PairsChecked, PairsCheckOutput
from tasks.data_check.pipeline import examine_request
from tasks.data_check.publish import publish
from tasks.data_check.request import Request
from tasks.datasets.rows import columns_of, of_one_kind
from tasks.documents import DataCheckFailed
from tasks.runtime.pairs import stored_pairs
from tasks.runtime.scratch import scratch_folder
from tasks.runtime.stages import remembered

log = logging.getLogger("dpo.curate")
CODE = ("tasks.curate.check",)


@task(name="check", cache_policy=NO_CACHE)
def check_pairs(plan: CurationPlan, paired: Paired) -> PairsChecked:
    """Check the pairs by the recipe's rules. Raises DataCheckFailed where they must not be trained on."""
    store, curation = open_store(load_settings(), patient=True), plan.curation
    inputs = {
        "pairs": paired.key,
        "validation": plan.content["validation"],
        "encoding": plan.content["encoding"],
        "tokenizer": plan.tokenizer_sha256,
    }
    reports_key = f"reports/{plan.name}-pairs-{digest_json(inputs)[:12]}"
    home = load_settings().home

    def compute() -> PairsCheckOutput:
        with scratch_folder(home) as scratch:
            rows = scratch / f"{plan.name}.jsonl"
            read = map(columns_of, of_one_kind(list(stored_pairs(store, paired.key))))
            rows.write_text("".join(f"{json.dumps(columns)}\n" for columns in read))
            request = Request(
                str(rows),
                None,
                curation.validation,
                curation.encoding,
                plan.model_folder or None,
                split=False,
                trusted_code=plan.trusted_code,
            )
            examined = examine_request(request, scratch, load_settings())
            keep_report(store, reports_key, examined, plan.name)
            data, _ = lines_of(examined.spool.pairs(examined.train.tolist()))
        key = f"data/{sha256(data).hexdigest()}/checked.jsonl"
        store.put_bytes(key, data)
        return PairsCheckOutput(**dict(examined.result), reports_key=reports_key, rows_key=key)

    output, stage = remembered(
        store,
        "check-pairs",
        inputs,
        compute,
        output=PairsCheckOutput,
        code=CODE,
        force=plan.force,
        there=lambda output: (
            store.exists(output.rows_key) and all(store.exists(f"{reports_key}/{name}") for name in FILES)
        ),
    )
    checked = PairsChecked(**dict(output), report=report_here(store, reports_key, stage), stage=stage)
    document = document_of(checked)
    publish(plan.name, plan.run_id, plan.run_url, document, reports_key, without_secrets(load_settings().store_url))
    log.info("pairs_checked verdict=%s kept=%d of=%d", checked.verdict, checked.rows_kept, checked.rows_in)
    if checked.verdict == "fail":
        raise DataCheckFailed(document, plan.name)
    return checked
