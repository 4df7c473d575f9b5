"""Which model a run starts from, by a name that does not move: an alias is resolved once."""

import logging
from pathlib import Path

from dpo_core.errors import InputError
from dpo_core.model.identity import digest_weights
from infra.errors import BadSetting, ObjectMissing
from infra.registry import versions
from infra.settings import load_settings
from tasks.runtime.models import local_model

log = logging.getLogger("dpo.plan")
START, START_WEIGHTS, REQUEST = "dpo.start_model", "dpo.reference_weights_sha256", "dpo.request"  # tags of a version
LICENCE = "licence"  # one more: of its start model


def start_model(model: str, request: str, *, pin: str | None = None) -> str:
    """`model` itself, or the version that `models:/NAME@ALIAS` means for this request (digest of recipe and data).

    Where the alias is on what the same request has made, that is the model which it was made from: a run that starts
    from its own champion is then a look-up the second time, and not a second round on the same pairs.
    """
    if not model.startswith("models:/"):
        return model
    name, _ = versions.parse(model)
    found = versions.resolve(model)
    if found.tags.get(REQUEST) == request and "@" in model:
        start = found.tags.get(START, "")
        if _is_there(start, found.tags.get(START_WEIGHTS), pin):
            log.info("start_model=%s made_from_it_by_this_recipe=%d asked_for=%s", start, found.number, model)
            return start
    return f"models:/{name}/{found.number}"


def _is_there(start: str, weights: str | None, pin: str | None) -> bool:
    """Whether a run can start there; of one deleted or replaced since, what the alias means now is all there is."""
    try:
        if start.startswith("models:/"):
            return versions.resolve(start).weights_sha256 == weights
        # the first round's: a folder, or a name that others give
        return bool(start) and digest_weights(local_model(start, load_settings().home, pin=pin)) == weights
    except (InputError, BadSetting, ObjectMissing):
        return False


def licence_of_start(model: str, folder: Path) -> str | None:
    """What the model card in the start model's folder names; of a registered version, what it was registered with."""
    from dpo_core.report.model_card import licence_of

    if (found := licence_of(folder)) is not None or not model.startswith("models:/"):
        return found
    try:
        return versions.resolve(model).tags.get(LICENCE)
    except ObjectMissing:  # deleted since
        return None
