"""A Python script with `DPOConfig(...)`: read by its syntax tree, never run. What is no literal has no value here."""

import ast
import warnings
from collections.abc import Callable, Iterator

from dpo_core.errors import InputError
from dpo_core.moving.cells import NoLiteral, Sheet
from dpo_core.moving.losses import DO
from dpo_core.moving.tables import names

Put = Callable[[str, ast.expr, object], None]  # a key, where its value stands, and the value
CONFIG, PLAIN, TRAINER, STOPPING = "DPOConfig", "TrainingArguments", "DPOTrainer", "EarlyStoppingCallback"
RANK = 8  # of peft's LoraConfig where it names none, and its lora_alpha
OTHERS = names(
    "SFTConfig KTOConfig GRPOConfig RLOOConfig PPOConfig RewardConfig ORPOConfig CPOConfig BCOConfig OnlineDPOConfig "
    "SFTTrainer TrainingArguments"
)
OF_TRAINER = ("beta", "loss_type", "max_length", "max_prompt_length", "label_smoothing")  # once DPOTrainer's own


def read_script(text: str, file: str) -> Sheet:
    """The keys of a script's DPOConfig, with the model, adapters and pairs that the script names by literals."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of the script's own strings
            return _Script(ast.parse(text), file).sheet()
    except InputError:
        raise
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f":{error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        says = f"this is no Python that can be read: {getattr(error, 'msg', None) or error}"
        raise InputError(says, where=f"{file}{line}", do="mend the script, or write its values as YAML") from None


class _Script:
    """The calls of a script, and the literals that its names stand for."""

    def __init__(self, tree: ast.Module, file: str) -> None:
        self.file = file
        self.calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        self.named: dict[str, ast.expr | None] = {}  # None: bound more than once
        for node in ast.walk(tree):
            for name, value in _bindings(node):
                self.named[name] = None if name in self.named else value

    def sheet(self) -> Sheet:
        """All that was found, by the names of `trl dpo --config`."""
        config, trainer = self._config(), self._last(TRAINER)
        values: dict[str, object] = {}
        lines: dict[str, int] = {}

        def put(name: str, node: ast.expr, value: object) -> None:
            values[name], lines[name] = value, node.lineno

        for keyword in [*config.keywords, *(trainer.keywords if trainer else [])]:
            of_config = keyword in config.keywords
            if keyword.arg is None:
                put("**", keyword.value, NoLiteral(ast.unparse(keyword.value)))
            elif of_config or keyword.arg in OF_TRAINER:
                put(keyword.arg, keyword.value, self._value(keyword.value))
        if config.args:
            put("output_dir", config.args[0], self._value(config.args[0]))
        self._adapters(put)
        self._stopping(put)
        if (model := self._model(trainer)) is not None:
            put("model_name_or_path", *model)
        if (reference := _argument(trainer, "ref_model", 1)) is not None:
            put("ref_model", *(self._named_model(reference) or (reference, self._value(reference))))
        self._pairs(trainer, put)
        return Sheet(self.file, values, lines, plain=_called(config) == PLAIN)

    def _config(self) -> ast.Call:
        found = [call for call in self.calls if _called(call) == CONFIG]
        if not found and self._last(TRAINER):  # before TRL had a DPOConfig
            found = [call for call in self.calls if _called(call) == PLAIN]
        if len(found) > 1:
            places = ", ".join(str(call.lineno) for call in found)
            do = "keep one in a copy of the script and import that"
            raise InputError(f"there are {len(found)} configs, in lines {places}", where=self.file, do=do)
        if found:
            return found[0]
        other = next((call for call in self.calls if _called(call) in OTHERS), None)
        if other is not None:
            says = f"there is no {CONFIG}(...), but {_called(other)}(...): no run on pairs by DPO"
            raise InputError(says, where=f"{self.file}:{other.lineno}", do=DO)
        says = f"there is no {CONFIG}(...) in this script"
        raise InputError(says, where=self.file, do="name the file that calls it, or write its values as YAML")

    def _adapters(self, put: Put) -> None:
        if (lora := self._last("LoraConfig")) is None:
            return
        put("use_peft", lora, True)
        for name in ("lora_r", "lora_alpha"):
            put(name, lora, RANK)
        ours = {"r": "lora_r", "target_modules": "lora_target_modules"}
        plain = ("lora_alpha", "lora_dropout", "use_rslora", "use_dora")
        for keyword in lora.keywords:
            name = ours.get(str(keyword.arg), keyword.arg if keyword.arg in plain else f"LoraConfig.{keyword.arg}")
            put(str(name), keyword.value, self._value(keyword.value))

    def _stopping(self, put: Put) -> None:
        """How long transformers' EarlyStoppingCallback waits: once, unless it says more."""
        if (callback := self._last(STOPPING)) is None:
            return
        put("early_stopping_patience", callback, 1)
        for position, name in enumerate(("early_stopping_patience", "early_stopping_threshold")):
            if (node := _argument(callback, name, position)) is not None:
                put(name, node, self._value(node))

    def _model(self, trainer: ast.Call | None) -> tuple[ast.expr, object] | None:
        """What DPOTrainer is given as its model; else the one model that the script loads."""
        loads = [
            call for call in self.calls if isinstance(call.func, ast.Attribute) and "Model" in ast.unparse(call.func)
        ]
        return next(filter(None, map(self._named_model, [_argument(trainer, "model", 0), *loads])), None)

    def _named_model(self, node: ast.expr | None) -> tuple[ast.expr, object] | None:
        """Where a model is named, by itself or in its `from_pretrained`, and the name."""
        call = self._resolved(node)
        if isinstance(call, ast.Call) and _called(call) == "from_pretrained":
            node = _argument(call, "pretrained_model_name_or_path", 0) or _argument(call, "model_name", 0)
        return (node, value) if node is not None and isinstance(value := self._value(node), str) else None

    def _pairs(self, trainer: ast.Call | None, put: Put) -> None:
        """The data sets that DPOTrainer is given, or the one that the script loads."""
        loads = [call for call in self.calls if _called(call) == "load_dataset"]
        given = self._resolved(_argument(trainer, "train_dataset", None)) if trainer else None
        load = given if isinstance(given, ast.Call) and _called(given) == "load_dataset" else None
        load = load or (loads[0] if len(loads) == 1 else None)
        if load is None or not load.args:
            return
        name = self._value(load.args[0])
        files = self._value(_argument(load, "data_files", None))
        if isinstance(files, dict):
            files = files.get("train")
        name = files if isinstance(files, str) else name
        if not isinstance(name, str):
            return
        put("dataset_name", load, name)
        config, split = self._value(_argument(load, "name", 1)), self._value(_argument(load, "split", None))
        if isinstance(config, str) and not isinstance(files, str):
            put("dataset_config", load, config)
        if isinstance(split, str):
            put("dataset_train_split", load, split)

    def _value(self, node: ast.expr | None) -> object:
        """A literal, or a name that stands for one; anything else is NoLiteral."""
        if node is None:
            return None
        try:
            return ast.literal_eval(self._resolved(node) or node)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return NoLiteral(ast.unparse(node))

    def _resolved(self, node: ast.expr | None) -> ast.expr | None:
        """The expression that a name was bound to, once."""
        return self.named.get(node.id) if isinstance(node, ast.Name) else node

    def _last(self, name: str) -> ast.Call | None:
        return next((call for call in reversed(self.calls) if _called(call) == name), None)


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _argument(call: ast.Call | None, name: str, position: int | None) -> ast.expr | None:
    if call is None:
        return None
    by_name = next((keyword.value for keyword in call.keywords if keyword.arg == name), None)
    by_place = call.args[position] if position is not None and len(call.args) > position else None
    return by_name or by_place


def _bindings(node: ast.AST) -> Iterator[tuple[str, ast.expr | None]]:
    """Names that a statement binds, each with its expression; None for those that no literal can follow."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Name):
                yield target.id, node.value
            elif isinstance(target, ast.Tuple):
                yield from ((part.id, None) for part in target.elts if isinstance(part, ast.Name))
    elif isinstance(node, ast.AnnAssign | ast.AugAssign | ast.NamedExpr) and isinstance(node.target, ast.Name):
        yield node.target.id, None if isinstance(node, ast.AugAssign) else node.value
    elif isinstance(node, ast.arg):
        yield node.arg, None
    elif isinstance(node, ast.For | ast.comprehension) and isinstance(node.target, ast.Name):
        yield node.target.id, None
