"""The file that MLflow stores beside a model's weights and runs where the model is served (models from code).

It runs where this package is not installed: it may import transformers, torch, and mlflow with what that brings.
"""

from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel


class ChatModel(PythonModel):
    """Greedy answers to chat prompts, in fp32."""

    def load_context(self, context: Any) -> None:
        """Load tokenizer and weights from the model's `checkpoint` folder."""
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        folder = context.artifacts["checkpoint"]
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)

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


def _prompts(model_input: Any) -> list[Any]:
    if hasattr(model_input, "columns"):
        column = "prompt" if "prompt" in model_input.columns else model_input.columns[0]
        return list(model_input[column])
    return list(model_input)


def _messages(prompt: Any) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)


set_model(ChatModel())
