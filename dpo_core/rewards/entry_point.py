"""A reward that is a function of the user's own, named in the recipe."""

import contextlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from dpo_core.data.digests import digest_file, digest_json
from dpo_core.data.pairs import Message
from dpo_core.errors import InputError
from dpo_core.rewards.reward import Unscored, place_of, require_scores

SHAPE = "write it as def function(prompt, answers, wanted), which returns one number an answer"
Function = Callable[[list[Message], list[str], dict[str, object]], Sequence[float]]


class FunctionReward:
    """`package.module:function`, or `path.py:function` from `folder`. The file's code is run when this is made.

    function(prompt: list of {"role", "content"}, answers: list of text, wanted: the prompt's row) returns a list of
    finite numbers, one an answer. `digest`: of the Python files of its package, and of the one that it stands in.
    Raises InputError where there is no such function.
    """

    def __init__(self, named: str, *, folder: Path, name: str = "entry_point") -> None:
        self.name, self.named = name, named
        place, _, attribute = named.rpartition(":")
        if not place or not attribute:
            says = f"{named!r} names no function"
            raise InputError(says, where=f"rewards.{name}", do="write package.module:function, or path.py:function")
        module = _module(place, folder, f"rewards.{name}")
        found = getattr(module, attribute, None)
        if not callable(found):
            says = f"{place} has no function {attribute}"
            raise InputError(says, where=f"rewards.{name}", do=f"name one that it has; {SHAPE}")
        _require_shape(found, named, f"rewards.{name}")
        self._function: Function = found
        self.digest = _digest(module, found)

    def score(self, prompt: Sequence[Message], answers: Sequence[str], wanted: Mapping[str, object]) -> list[float]:
        """What the function says. Raises Unscored, with its name, where it raises or gives no finite numbers."""
        where = place_of(prompt, wanted)
        try:
            found = self._function([message.copy() for message in prompt], list(answers), dict(wanted))
            text = isinstance(found, str | bytes)
            scores = found if text else [score.item() if hasattr(score, "item") else score for score in found]
        except Exception as error:
            says = f"{self.named} raised {type(error).__name__}: {(str(error).splitlines() or [''])[0]}{_line(error)}"
            raise Unscored(says, where=where, do="mend the function; the prompt is left out") from error
        require_scores(scores, len(answers), self.named, where)
        return [float(score) for score in scores]


def _module(place: str, folder: Path, where: str) -> ModuleType:
    try:
        if not place.endswith(".py"):
            return importlib.import_module(place)
        path = (folder / place).resolve()
        if not path.is_file():
            says = "there is no such file"
            raise InputError(f"{place}: {says}", where=where, do=f"the path is meant from {folder}")
        name = f"reward_{digest_file(path)[:12]}"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look themselves up there
        spec.loader.exec_module(module)
        return module
    except InputError:
        raise
    except Exception as error:
        says = f"{place} cannot be imported: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        raise InputError(says, where=where, do="mend it, or install what it needs") from error


def _digest(module: ModuleType, function: Callable[..., Any]) -> str:
    top = sys.modules[module.__name__.partition(".")[0]]
    roots = [Path(root) for root in getattr(top, "__path__", ())]
    files = {str(file.relative_to(root)): file for root in roots for file in root.rglob("*.py")}
    with contextlib.suppress(TypeError):  # of a builtin, or an object that can be called
        source = inspect.getsourcefile(inspect.unwrap(function))
        files |= {"function": Path(source)} if source else {}
    if module.__file__:
        files["module"] = Path(module.__file__)
    digests = {name: digest_file(file) for name, file in files.items()}
    return digests.popitem()[1] if len({*digests.values()}) == 1 else digest_json(digests)


def _require_shape(function: Callable[..., Any], named: str, where: str) -> None:
    try:
        inspect.signature(function).bind([], [], {})
    except TypeError as error:
        raise InputError(f"{named} does not take what it is given: {error}", where=where, do=SHAPE) from None
    except ValueError:  # a builtin that tells nothing of itself
        return


def _line(error: Exception) -> str:
    """Where in the user's code it was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f" ({Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno})" if trace is not None else ""
