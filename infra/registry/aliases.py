"""What a registered model and its versions carry for people: aliases, tags, descriptions; set without a second look."""

from infra.secrets import without_secrets
from infra.tracking.client import mlflow_errors, set_past_others
from infra.tracking.runs import connect

DESCRIPTION = 5000  # characters that MLflow's tables hold of a description


def alias_and_tag(name: str, alias: str, tag: str) -> tuple[int | None, str | None]:
    """The version that an alias names and a tag of the registered model, read at once; None for what is not there."""
    from mlflow.exceptions import MlflowException

    client = connect()
    with mlflow_errors(f"look up {name}"):
        try:
            model = client.get_registered_model(name)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None, None
            raise
    number = model.aliases.get(alias)
    return None if number is None else int(number), model.tags.get(tag)


def aliased(name: str) -> set[int]:
    """The versions that carry an alias, whichever."""
    client = connect()
    with mlflow_errors(f"look up {name}"):
        return {int(number) for number in client.get_registered_model(name).aliases.values()}


def move_alias(name: str, alias: str, number: int | None) -> None:
    """Point the alias at a version, or take it away; who needs to know looks again."""
    client = connect()
    with mlflow_errors(f"set {name}@{alias}"):
        if number is None:
            client.delete_registered_model_alias(name, alias)
        else:
            set_past_others(client.set_registered_model_alias, name, alias, str(number))


def set_model_tag(name: str, key: str, value: str) -> None:
    """Set a tag of the registered model itself."""
    client = connect()
    with mlflow_errors(f"tag model {name}"):
        set_past_others(client.set_registered_model_tag, name, key, value)


def describe(name: str, number: int, text: str) -> None:
    """Set what the registry's page says of a version: Markdown, at most DESCRIPTION characters."""
    client = connect()
    with mlflow_errors(f"describe version {number} of {name}"):
        client.update_model_version(name, str(number), without_secrets(text))


def is_registered(name: str) -> bool:
    """Whether there is a registered model of that name."""
    client = connect()
    with mlflow_errors(f"look up {name}"):
        return bool(client.search_registered_models(f"name = '{name}'", max_results=1))
