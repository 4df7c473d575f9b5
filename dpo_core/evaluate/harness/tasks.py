"""The tasks of lm-eval that a recipe names: found, loaded with their documents, and named by their content."""

import contextlib
import difflib
import importlib.util
import io
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from dpo_core.data.digests import digest_json
from dpo_core.errors import InputError
from dpo_core.evaluate.harness.calm import as_lm_eval_begins
from dpo_core.evaluate.harness.content import content_of, prompts_of
from dpo_core.recipe_evaluation import LmEval

if TYPE_CHECKING:
    from lm_eval.api.task import Task
    from lm_eval.tasks import TaskManager
    from lm_eval.tasks._index import Entry

KEY = "evaluation.lm_eval"
NEAR = 3  # names that a message proposes


@dataclass(frozen=True)
class HarnessTask:
    """What one name of `evaluation.lm_eval.tasks` asks, and which score of each document is taken.

    `tasks`: lm-eval's own, by name, several where it is a group's or a tag's. `prompts`: what each document asks, in
    the order of the scores. `sha256`: of all that can change a score but the model.
    """

    name: str
    tasks: Mapping[str, "Task"]
    metric: str
    filter: str
    higher_is_better: bool
    prompts: Sequence[str]
    sha256: str


def load_tasks(asked: LmEval) -> list[HarnessTask]:
    """Each name that the recipe has. Raises InputError for what could not be asked, or has no score a document."""
    _require_package()
    with as_lm_eval_begins():
        manager = _manager(asked)
        return [_loaded(manager, name, metric, asked) for name, metric in asked.metrics.items()]


def _require_package() -> None:
    if importlib.util.find_spec("lm_eval") is None:
        do = 'install the extra: pip install -c constraints.txt -e ".[lm-eval]", or take the key out of the recipe'
        raise InputError("tasks of lm-eval are asked for, and its package is not installed", where=KEY, do=do)


def _manager(asked: LmEval) -> "TaskManager":
    """Who knows the tasks: of the recipe's folder alone, where it has them all, for lm-eval's own are thousands."""
    from lm_eval.tasks import TaskManager

    folder, wanted = asked.include_path, list(asked.metrics)
    if folder is not None:
        if not Path(folder).is_dir():
            do = "check the path, which is meant from the recipe's folder; it is a folder of task files (YAML)"
            raise InputError("there is no such folder of tasks", where=f"{KEY}.include_path: {folder}", do=do)
        own = TaskManager(include_path=folder, include_defaults=False)
        if _with_members(own.task_index, wanted) <= own.task_index.keys():
            return own
        _require_readable(folder)
    found = TaskManager(include_path=folder)
    for name in wanted:
        if name not in found.all_tasks:
            near = difflib.get_close_matches(name, found.all_tasks, n=NEAR)
            do = f"did you mean {' or '.join(near)}? " if near else ""
            do += "`lm-eval ls tasks` prints what there is; include_path names a folder of your own"
            raise InputError(f"lm-eval has no task {name!r}", where=f"{KEY}.tasks", do=do)
    return found


def _with_members(known: Mapping[str, "Entry"], names: Sequence[str]) -> set[str]:
    """These names, and those that groups among them are made of."""
    found, waiting = set[str](), list(names)
    while waiting:
        name = waiting.pop()
        members = (known[name].cfg or {}).get("task") if name in known and name not in found else None
        found.add(name)
        if isinstance(members, list):
            waiting += [one if isinstance(one, str) else one.get("group") or one.get("task") for one in members]
    return found


def _require_readable(folder: str) -> None:
    """Of the files of a folder, for lm-eval passes over one that it cannot read."""
    from lm_eval.tasks._yaml_loader import load_yaml

    for file in sorted(Path(folder).rglob("*.yaml")):
        try:
            load_yaml(file, resolve_func=False)
        except Exception as error:  # whatever is wrong with it
            says = f"the task file cannot be read: {_first_line(error)}"
            raise InputError(says, where=str(file), do="mend the file, or take it out of the folder") from None


def _loaded(manager: "TaskManager", name: str, metric: str, asked: LmEval) -> HarnessTask:
    entry = manager.task_index[name]
    where = str(entry.yaml_path or f"{KEY}.tasks: {name}")
    with _told(name, where):
        tasks = manager.load([_from_its_folder(manager, name)])["tasks"]
    if not tasks:
        raise InputError(f"{name} has no task", where=where, do="name tasks, or a group that has some")
    prompts, contents, scores = [], [], set()
    for one, task in tasks.items():
        _require_text(one, task, where)
        _set_examples(task, asked.num_fewshot)
        scores.add(_score_of(one, task, metric, where))
        with _told(one, where):
            documents = list(itertools.islice(task.eval_docs, asked.limit))
            with contextlib.redirect_stderr(io.StringIO()):  # a bar
                task.build_all_requests(limit=1)  # what every document would fail on is found before the training
            _set_examples(task, asked.num_fewshot)  # which draws its examples from the beginning again
            prompts += prompts_of(task, documents)
            contents.append([one, content_of(task, documents)])
    if len(scores) > 1:
        does = "name the metric: tasks: {" + f"{name}: acc" + "}, or its tasks one by one"
        raise InputError(f"the tasks of {name} have different metrics", where=f"{KEY}.tasks: {name}", do=does)
    found, chosen, higher = scores.pop()
    settings = asked.model_dump(include={"limit", "num_fewshot", "apply_chat_template", "batch_size"})
    named = [version("lm_eval"), settings, contents, found, chosen, higher]
    return HarnessTask(name, tasks, found, chosen, higher, prompts, digest_json(named))


@contextlib.contextmanager
def _told(name: str, where: str) -> Iterator[None]:
    """What a task meets when it is loaded, in words: it may run code of anyone's."""
    try:
        yield
    except InputError:
        raise
    except ModuleNotFoundError as error:
        do = "install it beside this package, or name another task"
        raise InputError(f"{name} needs the package {error.name}, which is missing", where=where, do=do) from None
    except ConnectionError as error:
        offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
        why = "HF_HUB_OFFLINE is set" if offline else _first_line(error)
        do = "run once with the network, which keeps the data here, or name a task whose data are files of your own"
        raise InputError(f"the data set of {name} is not on this machine: {why}", where=where, do=do) from None
    except Exception as error:
        do = "mend the task file: dataset_path, dataset_kwargs.data_files (meant from its own folder), splits, doc_to_*"
        raise InputError(f"{name} cannot be loaded: {_first_line(error)}", where=where, do=do) from None


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]


def _from_its_folder(manager: "TaskManager", name: str) -> str | dict[str, object]:
    """A name as lm-eval loads it; of tasks of one's own, data files are meant from where the task file lies."""
    from lm_eval.tasks._index import Kind

    known, entry = manager.task_index, manager.task_index[name]
    group = entry.cfg or {} if entry.kind is Kind.GROUP else {}
    members = group.get("task", []) if group else sorted(entry.tags) if entry.kind is Kind.TAG else [name]
    tasks = [one for one in members if isinstance(one, str) and one in known and known[one].kind is Kind.TASK]
    changes = {one: _absolute(known[one]) for one in tasks}
    if not any(changes.values()):
        return name
    named = [{"task": one, **changes[one]} if one in tasks else one for one in members]
    return {**group, "group": f"{name}, as it stands", "task": named}


def _absolute(entry: "Entry") -> dict[str, object]:
    """What of a task's data lies in its own folder, by its absolute path."""
    config, folder = entry.cfg or {}, Path(entry.yaml_path or ".").resolve().parent

    def swap(value: object) -> object:
        if isinstance(value, dict):
            return {key: swap(item) for key, item in value.items()}
        if isinstance(value, list):
            return [swap(item) for item in value]
        return str(folder / value) if isinstance(value, str) and (folder / value).exists() else value

    options = config.get("dataset_kwargs") or {}
    files = {key: swap(options[key]) for key in ("data_files", "data_dir") if options.get(key)}
    return {"dataset_kwargs": {**options, **files}} if any(files[key] != options[key] for key in files) else {}


def _require_text(name: str, task: "Task", where: str) -> None:
    if getattr(task, "MULTIMODAL", False):
        do = "name a task that asks in text alone"
        raise InputError(f"{name} asks with pictures or sound", where=where, do=do)
    if getattr(task, "UNSAFE_CODE", False):
        do = "name another task, or run it with lm-eval itself, in a place that may break"
        raise InputError(f"{name} runs code that the model writes, which is not done here", where=where, do=do)


def _set_examples(task: "Task", wanted: int | None) -> None:
    """As `lm_eval.simple_evaluate` does: a task that says 0 has no examples, whatever is asked for."""
    from lm_eval.defaults import DEFAULT_OTHER_SEED

    given = task.get_config("num_fewshot")
    if wanted is not None and given != 0:
        task.set_config(key="num_fewshot", value=wanted)
    elif given is None:
        task.set_config(key="num_fewshot", value=0)
    task.set_fewshot_seed(seed=DEFAULT_OTHER_SEED)


def _score_of(name: str, task: "Task", asked: str, where: str) -> tuple[str, str, bool]:
    """Metric, filter, and whether more is better, of what each document has a number of."""
    from lm_eval.api.metrics import mean

    metric, _, chosen = asked.partition(",")
    every, filters = task.aggregation(), [one["name"] for one in task.get_config("filter_list") or [{"name": "none"}]]
    of_documents = [one for one, how in every.items() if how is mean]
    if not of_documents:
        says = f"{name} has no score of a document, which could be compared with a champion's: {', '.join(every)} "
        do = "name a task with acc, acc_norm or exact_match; of text, evaluation.neutral_text measures the loss"
        raise InputError(says + "are of all documents together", where=where, do=do)
    if metric and metric not in of_documents:
        do = f"there are {', '.join(of_documents)}" + ("" if metric not in every else "; this one is of all documents")
        raise InputError(f"{name} has no score {metric!r} of a document", where=f"{KEY}.tasks: {name}", do=do)
    if chosen and chosen not in filters:
        do = f"there are {', '.join(filters)}"
        raise InputError(f"{name} has no filter {chosen!r}", where=f"{KEY}.tasks: {name}", do=do)
    taken = metric or of_documents[0]
    return taken, chosen or filters[0], bool(task.higher_is_better().get(taken, True))
