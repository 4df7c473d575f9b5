"""What processes of a pool have before they are forked: imports of reading and scoring, and what a load works out."""

import openai.resources.chat.completions
import openai.resources.models
import transformers.generation
import transformers.models.llama.modeling_llama
from transformers import conversion_mapping

import dpo_core.model.load
import infra.endpoint.client
import tasks.data_check.rows
import tasks.reference.devices
import tasks.runtime.device

conversion_mapping.get_checkpoint_conversion_mapping("llama")
__all__ = ["conversion_mapping", "dpo_core", "infra", "openai", "tasks", "transformers"]
