"""A copy of the champion under another name: what serves need not share a name with what is tried out."""

import logging

from infra.registry import versions
from infra.registry.aliases import move_alias
from infra.tracking.client import mlflow_errors
from infra.tracking.runs import connect

log = logging.getLogger("dpo.ledger")
PRODUCTION = "dpo.production"  # tag of a version: the registered model that it is copied to once it is champion
COPIED = "copied_from"  # tag of the copy: NAME/VERSION
ALIAS = "champion"


def copy_if_asked(name: str, number: int, *, moved: bool) -> None:
    """Where the version's tag names a registered model: a version of that with the same files, which is its champion.

    Done again it changes nothing: the copy is known by its tag. Unless the champion `moved`, one that is there stays.
    """
    source = versions.by_number(name, number)
    if not (target := source.tags.get(PRODUCTION, "")):
        return
    seen = versions.by_alias(target, ALIAS)
    if seen is not None and not moved:  # a person's choice, or ours of before
        return
    client, origin = connect(), f"{name}/{number}"
    with mlflow_errors(f"copy version {number} of {name} to {target}"):
        found = client.search_model_versions(f"name = '{target}' and tag.{COPIED} = '{origin}'")
        if found:
            copy = min(int(version.version) for version in found)
        else:
            copy = int(client.copy_model_version(f"models:/{origin}", target).version)
            versions.set_tags(target, copy, {COPIED: origin, PRODUCTION: ""})  # it has the other tags
            log.info("copied_to_production name=%s version=%d to=%s as=%d", name, number, target, copy)
    if seen is None or seen.number != copy:
        move_alias(target, ALIAS, copy)
        says = "production_moved name=%s from=%s to=%d copied_from=%s"
        log.info(says, target, seen and seen.number, copy, origin)
