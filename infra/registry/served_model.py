"""The file that MLflow stores beside a model's weights and runs where the model is served (models from code).

It runs where this package is not installed: it may import transformers, torch, and mlflow with what that brings.
"""

import json
import time
import uuid
from collections.abc import Mapping
from numbers import Integral, Real
from pathlib import Path
from runpy import run_path
from typing import Any, NamedTuple, cast

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc.model import PythonModel

CHARACTERS_A_TOKEN = 100  # a longer text has too many tokens whatever the tokenizer: it is not even tried
LENGTHS = ("max_tokens", "max_completion_tokens", "max_new_tokens")  # what requests call it
ONLY = {"stream": False, "n": 1, "frequency_penalty": 0, "presence_penalty": 0, "logprobs": False}  # as it always is
REQUEST = {"messages", "tools", "model", "user", "stop", "temperature", "top_p", *ONLY, *LENGTHS}
ROLES = {"system", "developer", "user", "assistant", "tool"}
STOPS = 4  # texts at which an answer may be told to end
HERE = Path(__file__).parent  # what follows lies beside it, also where it is served
FOLDER, CHAT = run_path(str(HERE / "served_folder.py")), run_path(str(HERE / "served_chat.py"))
Traces = run_path(str(HERE / "served_traces.py"))["Traces"]
MESSAGE = {"role", "content", "name", "tool_calls", "tool_call_id", "reasoning_content"}


class Reply(NamedTuple):
    """An answer, the tokens it took, and whether its end was reached."""

    text: str
    prompt_tokens: int
    new_tokens: int
    ended: bool


class ServedRequest(NamedTuple):
    """What is asked: `settings` say how it is decoded, `inside` stands before the place of what is wrong in it.

    `model` is given back in a chat completion; None: the answer is a plain text.
    """

    messages: list[dict[str, Any]]
    settings: Mapping[str, Any]
    tools: Any = None
    model: str | None = None
    inside: str = ""


class ChatModel(PythonModel):
    """Answers to chat prompts, greedy unless a temperature is asked for; on the GPU where there is one."""

    def load_context(self, context: Any) -> None:
        """Load tokenizer and weights from the model's `checkpoint` folder, if it is as it was registered.

        Raises RuntimeError if it is not: nothing of it is run then.
        """
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

        folder, self._limits = Path(context.artifacts["checkpoint"]), dict(context.model_config or {})
        trusted = self._limits.get("trusted_code")
        FOLDER["require_as_registered"](folder, self._limits.get("files"), trusted)
        self._traces = Traces(HERE, self._limits)
        options: dict[str, Any] = {"trust_remote_code": trusted is not None}
        self._tokenizer = AutoTokenizer.from_pretrained(folder, **options)
        self._chat = CHAT["Chat"](self._tokenizer)
        dtype = getattr(torch, self._limits.get("dtype", "float32"))
        options |= {"dtype": dtype, "use_safetensors": True, "generation_config": GenerationConfig()}
        self._model: Any = AutoModelForCausalLM.from_pretrained(folder, **options)
        self._model.eval().to("cuda" if torch.cuda.is_available() else "cpu")
        self._stops = {*FOLDER["named_ends"](folder), self._tokenizer.eos_token_id} - {None}
        config = self._model.config.get_text_config()
        self._context = int(getattr(config, "max_position_embeddings", None) or 1 << 30)

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> Any:
        """One answer a prompt; a prompt is a text or a list of {"role", "content"} messages.

        `model_input`: a frame with one column of prompts, or a list or array of them. A chat request of the kind
        {"messages": [...], "max_tokens": 48} is answered as a chat completion, by itself or in such a list. (MLflow
        makes a schema of any other type hint than a frame's, and cuts conversations by it.)
        `params`: max_new_tokens, temperature (0: greedy), top_p. MlflowException for what cannot be meant, with words.
        """
        settings, given = dict(params or {}), cast(Any, model_input)
        if isinstance(given, dict):
            return self._answers([_request(given, settings, "")])[0]
        prompts = _prompts(given)
        if len(prompts) > (most := self._limits.get("max_prompts", 64)):
            raise _refusal(f"{len(prompts)} prompts at once, at most {most} are answered", "the request",
                           "send fewer, or load the version with a larger max_prompts in its model_config")  # fmt: skip
        return self._answers([
            _request(one, settings, f"request {i}: ") if isinstance(one, dict)
            else ServedRequest(_messages(one, f"prompt {i}"), settings, inside=f"prompt {i}: ")
            for i, one in enumerate(prompts)
        ])  # fmt: skip

    def _answers(self, asked: list[ServedRequest]) -> list[str | dict[str, object]]:
        """In order; nothing is answered where one of them cannot be."""
        prompts = [self._encode(one) for one in asked]
        how = [self._decoding(one, room=self._context - len(ids)) for one, ids in zip(asked, prompts, strict=True)]
        return [self._answer(*one) for one in zip(asked, prompts, how, strict=True)]

    def _answer(self, asked: ServedRequest, prompt: list[int], decoding: Any) -> str | dict[str, object]:
        """A text, or a chat completion in the form that chat clients know."""
        began, told = time.time_ns(), {"messages": asked.messages, "tools": asked.tools, **asked.settings}
        reply = self._reply(prompt, decoding, asked.settings.get("stop") or [])
        inputs = {name: value for name, value in told.items() if value not in (None, [])}
        trace = self._traces.record(inputs, _completion(reply), began)
        if asked.model is None:
            return reply.text
        return {
            "id": trace or f"chatcmpl-{uuid.uuid4().hex}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": asked.model,
            **_completion(reply),
        }

    def _reply(self, prompt: list[int], decoding: Any, stops: list[str]) -> Reply:
        import torch

        ids = torch.tensor([prompt], device=self._model.device)
        options: dict[str, Any] = {"stop_strings": stops, "tokenizer": self._tokenizer} if stops else {}
        output = self._model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=decoding, **options)
        new = output[0, len(prompt) :].tolist()
        end = next((place for place, token in enumerate(new) if token in self._stops), None)
        text = str(self._tokenizer.decode(new[:end], skip_special_tokens=True))
        kept = text[: min((text.index(stop) for stop in stops if stop in text), default=len(text))]
        return Reply(kept, len(prompt), len(new), end is not None or kept != text)

    def _encode(self, asked: ServedRequest) -> list[int]:
        """As in training: a special token that is written in a message stays text, save what an assistant may write."""
        messages, tools, where = asked.messages, asked.tools, asked.inside.removesuffix(": ") or "the prompt"
        most = min(self._limits.get("max_prompt_tokens", 8192), self._context - 1)
        do = "send a shorter prompt, or load the version with a larger max_prompt_tokens in its model_config"
        if (size := len(json.dumps([messages, tools], default=str))) > CHARACTERS_A_TOKEN * most:
            raise _refusal(f"the prompt has {size} characters, at most {most} tokens are read", where, do)
        try:
            turns = CHAT["as_trained"](messages)
        except CHAT["BadTurn"] as error:
            form = '{"type": "function", "function": {"name": "...", "arguments": "{...}"}}'
            raise _refusal(str(error), where, f"write each call as {form}") from None
        try:
            ids: list[int] = self._chat.ids(turns, tools)
        except Exception as error:  # a template can raise anything
            says = f"the chat template refuses it: {type(error).__name__} {error}"
            raise _refusal(says, where, "send turns as the model was trained on") from None
        if len(ids) > most:
            raise _refusal(f"the prompt has {len(ids)} tokens, at most {most} are read", where, do)
        return ids

    def _decoding(self, asked: ServedRequest, *, room: int) -> Any:
        """How to decode: by what is asked for and nothing else, whatever the folder's generation config says."""
        from transformers import GenerationConfig

        limit = self._limits.get("max_new_tokens", 1024)
        length = _number(asked, "max_new_tokens", 48, 1, limit, whole=True)
        temperature = _number(asked, "temperature", 0.0, 0.0, 10.0)
        pad = self._tokenizer.pad_token_id
        sampling = {"temperature": temperature, "top_p": _number(asked, "top_p", 1.0, 1e-6, 1.0), "top_k": 0}
        return GenerationConfig(
            do_sample=temperature > 0,
            num_beams=1,
            use_cache=True,
            max_new_tokens=min(length, room),
            eos_token_id=sorted(self._stops),
            pad_token_id=self._tokenizer.eos_token_id if pad is None else pad,
            **(sampling if temperature > 0 else {}),
        )


def _request(given: Mapping[str, object], settings: Mapping[str, object], inside: str) -> ServedRequest:
    """A chat request in OpenAI's shape; what it does not say of decoding is as in `settings`."""
    request = {name: _plain(value) for name, value in given.items()}
    unknown = sorted(map(str, set(request) - REQUEST))
    if "messages" not in request or unknown:
        says = f"the request has {', '.join(unknown)}" if unknown else "the request has no messages"
        do = f'send {{"messages": [...]}} with any of {", ".join(sorted(REQUEST))}'
        raise _refusal(says, inside.removesuffix(": ") or "the request", do)
    for name, only in ONLY.items():
        if request.get(name, only) not in (only, None):
            do = f"leave it out: it is always {json.dumps(only)}"
            raise _refusal(f"{name} is {request[name]}", f"{inside}{name}", do)
    asked = {name: value for name, value in request.items() if name in ("temperature", "top_p")}
    lengths = [request[name] for name in LENGTHS if request.get(name) is not None]
    asked |= {"max_new_tokens": lengths[0]} if lengths else {}
    asked |= {"stop": _stops(request.get("stop"), f"{inside}stop")}
    messages = _messages(request["messages"], f"{inside}messages")
    return ServedRequest(messages, {**settings, **asked}, request.get("tools"), request.get("model") or "", inside)


def _completion(reply: Reply) -> dict[str, object]:
    """What chat clients and MLflow's page know an answer by."""
    message = {"role": "assistant", "content": reply.text}
    total = {"total_tokens": reply.prompt_tokens + reply.new_tokens}
    return {
        "choices": [{"index": 0, "message": message, "finish_reason": "stop" if reply.ended else "length"}],
        "usage": {"prompt_tokens": reply.prompt_tokens, "completion_tokens": reply.new_tokens, **total},
    }


def _number(asked: ServedRequest, name: str, default: float, least: float, most: float, *, whole: bool = False) -> Any:
    value: Any = default if asked.settings.get(name) is None else asked.settings[name]
    kind: Any = Integral if whole else Real
    if not isinstance(value, kind) or isinstance(value, bool) or not least <= value <= most:
        do = f"ask for {'a whole number ' if whole else ''}from {least:g} to {most:g}"
        if name == "max_new_tokens":
            do += ", or load the version with a larger max_new_tokens in its model_config"
        raise _refusal(f"{name} is {value!r}", f"{asked.inside}{name}", do)
    return int(value) if whole else float(value)


def _stops(value: object, where: str) -> list[str]:
    """Texts at which an answer ends, without them: one, or a few."""
    stops = [value] if isinstance(value, str) else value or []
    if not isinstance(stops, list) or len(stops) > STOPS or not all(isinstance(s, str) and s for s in stops):
        raise _refusal(f"stop is {value!r}", where, f"give a text, or a list of at most {STOPS}")
    return stops


def _prompts(model_input: Any) -> list[object]:
    if hasattr(model_input, "columns"):
        columns = list(model_input.columns)
        if len(columns) != 1:
            do = "send one column, `prompt`, of texts or lists of messages"
            raise _refusal(f"the frame has {len(columns)} columns: {', '.join(map(str, columns))}", "the request", do)
        model_input = model_input[columns[0]]
    plain = _plain(model_input)
    if isinstance(plain, str):
        return [plain]
    if not isinstance(plain, list):
        do = "send a list of prompts: texts, lists of messages, or chat requests"
        raise _refusal(f"the input is of type {type(plain).__name__}", "the request", do)
    turns = plain and all(isinstance(item, dict) and "messages" not in item for item in plain)
    return [plain] if turns else plain  # of one conversation


def _plain(value: object) -> Any:
    """Without numpy, which MLflow makes of every list and of each value of a request in a list."""
    return value.tolist() if hasattr(value, "tolist") else value


def _messages(prompt: object, where: str) -> list[dict[str, Any]]:
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    turns = _plain(prompt)
    if not isinstance(turns, list) or not turns or not all(map(_is_message, turns)):
        keys = ", ".join(sorted(MESSAGE))
        do = f'send a text, or a list of {{"role": "...", "content": "..."}}; a message may have {keys}'
        raise _refusal(f"this is no conversation: {json.dumps(turns, default=str)[:200]}", where, do)
    return [{**turn, "content": _text(turn.get("content"))} for turn in turns]


def _text(content: object) -> object:
    """The content as text, where it is a list of parts of text, as OpenAI's clients may send it."""
    return "".join(part["text"] for part in content) if isinstance(content, list) else content


def _is_message(turn: object) -> bool:
    if not isinstance(turn, dict) or not set(turn) <= MESSAGE or turn.get("role") not in ROLES:
        return False
    if isinstance(parts := turn.get("content"), list):
        return bool(parts) and all(isinstance(p, dict) and set(p) == {"type", "text"} and p["type"] == "text"
                                   and isinstance(p["text"], str) for p in parts)  # fmt: skip
    return isinstance(turn.get("content"), str) or bool(turn.get("content") is None and turn.get("tool_calls"))


def _refusal(says: str, where: str, do: str) -> MlflowException:
    """What is wrong, where, and what to do: over HTTP a 400 with these words."""
    return MlflowException(f"{says}\n  where: {where}\n  do:    {do}", error_code=INVALID_PARAMETER_VALUE)


set_model(ChatModel())
