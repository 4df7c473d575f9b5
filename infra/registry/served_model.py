"""The file that MLflow stores beside a model's weights and runs where the model is served (models from code).

It runs where this package is not installed: it may import transformers, torch, and mlflow with what that brings.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel


class ChatModel(PythonModel):
    """Greedy answers to chat prompts, in fp32."""

    def load_context(self, context: Any) -> None:
        """Load tokenizer and weights from the model's `checkpoint` folder.

        Code of the model's own runs if it is what the version was registered with. Raises RuntimeError if it is not.
        """
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        folder = context.artifacts["checkpoint"]
        trusted = (context.model_config or {}).get("trusted_code")
        if (found := _code_digest(Path(folder))) != trusted:
            raise RuntimeError(
                f"the Python files in {folder} have the digest {found}, the version was registered with {trusted}: "
                "none is run. Find out who changed the artifacts, or register the model again"
            )
        remote_code = trusted is not None
        self._tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=remote_code)
        self._model: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=remote_code
        )

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> list[str]:
        """One answer a prompt; a prompt is a string or a list of {"role", "content"} messages.

        `model_input`: a frame whose only column (or column `prompt`) holds the prompts, or a list or array of them.
        `params`: {"max_new_tokens": 48}.
        """
        length = int((params or {}).get("max_new_tokens", 48))
        return [self._answer(_messages(prompt), length) for prompt in _prompts(model_input)]

    def _answer(self, messages: list[dict[str, str]], max_new_tokens: int) -> str:
        text = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        inputs = self._tokenizer(text, return_tensors="pt", add_special_tokens=False)
        output = self._model.generate(**inputs, do_sample=False, max_new_tokens=max_new_tokens)
        answer = output[0, inputs["input_ids"].shape[1] :]
        return str(self._tokenizer.decode(answer, skip_special_tokens=True))


def _code_digest(folder: Path) -> str | None:
    """As dpo_core.model.remote_code.digest_code."""
    files = {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*.py")
    }
    text = json.dumps(files, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest() if files else None


def _prompts(model_input: Any) -> list[Any]:
    if hasattr(model_input, "columns"):
        column = "prompt" if "prompt" in model_input.columns else model_input.columns[0]
        return list(model_input[column])
    return list(model_input)


def _messages(prompt: Any) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)


set_model(ChatModel())
