"""prefect.yaml, the accelerate configs and the image: what their tools would ignore in silence is refused here."""

import asyncio
import fnmatch
import importlib
import re
import shlex
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import yaml
from packaging.specifiers import SpecifierSet
from pydantic import BaseModel

ROOT = Path(__file__).parents[2]
PREFECT = yaml.safe_load((ROOT / "prefect.yaml").read_text())
DEPLOYMENTS = {deployment["name"]: deployment for deployment in PREFECT["deployments"]}


def unknown_keys(model: type[BaseModel], given: dict) -> set[str]:
    return set(given) - {field.alias or name for name, field in model.model_fields.items()}


def test_prefect_knows_every_key():
    from prefect.cli.deploy._models import (
        ConcurrencyLimitSpec,
        DeploymentConfig,
        PrefectYamlModel,
        RawScheduleConfig,
        WorkPoolConfig,
    )

    PrefectYamlModel.model_validate(PREFECT)
    assert unknown_keys(PrefectYamlModel, PREFECT) == set()
    for deployment in DEPLOYMENTS.values():
        assert unknown_keys(DeploymentConfig, deployment) == set()
        assert unknown_keys(WorkPoolConfig, deployment["work_pool"]) == set()
        assert unknown_keys(ConcurrencyLimitSpec, deployment.get("concurrency_limit", {})) == set()
        for schedule in deployment.get("schedules", []):
            RawScheduleConfig.model_validate(schedule)


def test_a_misspelt_key_would_be_seen():
    from prefect.cli.deploy._models import DeploymentConfig

    assert unknown_keys(DeploymentConfig, {"name": "x", "schedulez": []}) == {"schedulez"}


def test_prefect_takes_what_the_readme_types_and_what_deploys_asks_nothing():
    """At its prompts, Enter has each run clone the repository: a relative DPO_HOME is gone with that clone."""
    import prefect.cli  # noqa: F401  (its commands register with the app)
    from prefect.cli._app import _app

    ended = {"exit_on_error": False, "print_error": False}
    done = []
    for line in re.findall(r"^    prefect (.*)$", (ROOT / "README.md").read_text(), re.MULTILINE):
        given = _app.meta.parse_args(shlex.split(line, comments=True), **ended)[1].arguments
        _app.parse_args(list(given["tokens"]), **ended)
        done.append((given["tokens"][:2], given.get("prompt")))
    commands = [("server", "start"), ("server", "status"), ("work-pool", "create"), ("deploy", "--all")]
    assert [command for command, _ in done] == [*commands, ("worker", "start")]
    assert dict(done)["deploy", "--all"] is False


def test_every_deploy_that_is_named_anywhere_asks_nothing():
    files = [ROOT / "README.md", ROOT / "prefect.yaml", *ROOT.glob("docs/*.md"), *ROOT.glob("infra/**/*.py")]
    named = re.findall(r"\bprefect( --no-prompt)? deploy --", "".join(file.read_text() for file in files))
    assert named == [" --no-prompt"] * 4


def test_a_second_run_of_a_scheduled_deployment_never_starts_beside_the_first():
    limits = [deployment["concurrency_limit"] for deployment in DEPLOYMENTS.values() if "schedules" in deployment]
    assert limits == [{"limit": 1, "collision_strategy": "CANCEL_NEW"}] * 4


@pytest.mark.parametrize("page", ["README.md", "docs/operations.md"])
def test_the_limit_of_a_run_that_is_at_work_outlives_a_restart_of_the_server_and_of_a_dead_one_ends(page, tmp_path):
    shell = dict(re.findall(r"^    export (PREFECT_S\w+)=(\S+)$", (ROOT / page).read_text(), re.MULTILINE))
    from prefect.server.concurrency.lease_storage import ConcurrencyLimitLeaseMetadata
    from prefect.settings import Settings

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(tmp_path))
        for name, value in shell.items():
            patch.setenv(name, value)
        module = Settings().server.concurrency.lease_storage
        assert {module} == set(shell.values())
        kept = importlib.import_module(module).ConcurrencyLeaseStorage

    async def restarted() -> None:
        before, now = kept(tmp_path), datetime.now(UTC)
        held = ConcurrencyLimitLeaseMetadata(slots=1)
        alive, dead = [await before.create_lease([uuid4()], timedelta(0), held) for _ in range(2)]
        after = kept(tmp_path)
        assert await after.renew_lease(alive.id, timedelta(seconds=300))
        assert (await after.read_lease(alive.id)).expiration > now + timedelta(seconds=299)
        assert await after.read_expired_lease_ids() == [dead.id]  # whose limit the server gives back

    asyncio.run(restarted())


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_a_deployment_names_a_flow_and_the_parameters_it_takes(name):
    path, _, flow = DEPLOYMENTS[name]["entrypoint"].partition(":")
    source = (ROOT / path).read_text()
    signature = re.search(rf"^def {flow}\((?P<arguments>.*?)\) ->", source, re.MULTILINE | re.DOTALL)
    assert signature, f"{path} has no flow {flow}"
    assert set(DEPLOYMENTS[name]["parameters"]) <= set(re.findall(r"(\w+):", signature["arguments"]))


def test_the_schedules_are_weekly_and_daily():
    from prefect.client.schemas.schedules import CronSchedule

    crons = {
        name: CronSchedule(cron=d["schedules"][0]["cron"]).cron for name, d in DEPLOYMENTS.items() if "schedules" in d
    }
    sunday = dict.fromkeys(("short-answers-weekly", "identity-pairs-weekly"), "0 1 * * 0")
    assert crons == {**sunday, "athene-weekly": "0 3 * * 1", "athene-quality-daily": "0 2 * * *"}
    assert not any(DEPLOYMENTS[name]["schedules"][0]["active"] for name in sunday)  # examples: hours of a CPU


@pytest.mark.parametrize(("name", "processes"), [("single.yaml", 1), ("multi_gpu.yaml", 2)])
def test_accelerate_reads_our_configs_without_a_key_too_many(name, processes):
    from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file

    path = ROOT / "infra" / "accelerate" / name
    config = load_config_from_file(str(path))  # refuses unknown keys
    assert isinstance(config, ClusterConfig)
    assert (config.num_processes, config.mixed_precision) == (processes, "no")


def test_the_image_gets_all_that_is_installed_and_nothing_private():
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    sent = {rule[1:] for rule in rules}
    assert {"flows", "tasks", "dpo_core", "infra", "pyproject.toml", "constraints.txt", "prefect.yaml"} <= sent
    assert not any(fnmatch.fnmatch(name, pattern) for name in sent for pattern in (".*", "tests*", ".env"))
    assert all((ROOT / name).exists() for name in sent)


def test_the_image_runs_as_an_ordinary_user_by_number_as_kubernetes_asks():
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    [user] = [line for line in lines if line.startswith("USER ")]
    number = int(user.removeprefix("USER "))
    assert number > 0
    assert any(f"useradd --create-home --uid {number} dpo" in line for line in lines[: lines.index(user)])
    assert lines.index(user) < lines.index('CMD ["dpo", "--help"]')


def test_the_image_puts_nothing_before_the_prefect_command_that_docker_and_kubernetes_pools_start():
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert not re.search("^ENTRYPOINT", dockerfile, re.MULTILINE)


def test_the_cpu_build_of_torch_comes_alone_from_its_index_and_stays():
    install = re.search(r"^RUN pip install (.*) torch$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)[1]
    words = [
        subprocess.check_output(["sh", "-c", f"printf '%s,' {install}"], env={"TORCH_INDEX": index}, text=True)
        for index in ("https://example.com/cpu", "")
    ]
    assert words == ["-c,constraints.txt,--no-deps,--index-url,https://example.com/cpu,", "-c,constraints.txt,"]
    pin = re.search(r"^torch(==\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]
    assert SpecifierSet(pin).contains(f"{pin[2:]}+cpu")


def test_constraints_pin_every_requirement_of_the_project():
    pins = dict(re.findall(r"^([\w.\-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    pinned = {name.lower().replace("_", "-") for name in pins}
    project = re.search(r"^dependencies = \[(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.MULTILINE | re.DOTALL)
    assert project
    required = {name.lower().replace("_", "-") for name in re.findall(r'"([\w\-]+)', project[1])}
    assert required - pinned == set()
    assert not any("+" in version for version in pins.values())  # no local builds such as +cpu
