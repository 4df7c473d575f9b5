"""Chat templates of every kind met in the field, in miniature: our own words for what the published ones do.

A template is put together from parts: how turns begin and end, what becomes of a system turn, of tools and calls, of a
thought, and what asks for the next answer. `KINDS` has one line a family.
"""
# ruff: noqa: E501  (Jinja, a rule a line)

import re
from dataclasses import dataclass
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

LAST_USER = "{%- set ns = namespace(last=-1) -%}{%- for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor -%}"
PARTED = (  # a thought under its key or within content: r and c
    "{%- set c = m.content or '' %}{% set r = '' %}"
    "{%- if m.%KEY% %}{% set r = m.%KEY% %}"
    "{%- elif '</think>' in c %}{% set r = c.split('</think>')[0].split('<think>')[-1] %}{% set c = c.split('</think>')[-1] %}{% endif %}"
)
THOUGHTS = {  # what is written before `c` of an assistant's turn
    "none": "{%- set c = m.content or '' %}",
    "trim": PARTED
    + "{%- if r and loop.index0 > ns.last %}{{ '<think>\\n' + r.strip('\\n') + '\\n</think>\\n\\n' }}{% endif %}{% set c = c.lstrip('\\n') %}",
    "always": PARTED
    + "{%- if loop.index0 > ns.last %}{{ '<think>\\n' + r.strip('\\n') + '\\n</think>\\n\\n' }}{% endif %}{% set c = c.lstrip('\\n') %}",
    "line": PARTED
    + "{%- if r %}{{ '<think>' + r.strip() + '</think>\\n' }}{% else %}{{ '<think></think>\\n' }}{% endif %}{% set c = c.strip() %}",
    "all": PARTED + "{%- if r %}{{ '<think>' + r + '</think>' }}{% endif %}",
    "drop": "{%- set c = (m.content or '').split('</think>')[-1] %}",
    "closed": PARTED + "{{ '</think>' if not r }}{% if r %}{{ '<think>' + r + '</think>' }}{% endif %}",
    "channel": "{%- set c = m.content or '' %}{% if m.thinking %}{{ '<|channel|>analysis<|message|>' + m.thinking + '<|end|><|start|>assistant' }}{% endif %}{{ '<|channel|>final<|message|>' }}",
    "brackets": "{%- set c = m.content or '' %}{% if m.reasoning_content %}{{ '[THINK]' + m.reasoning_content + '[/THINK]' }}{% endif %}",
}
SYSTEMS = {  # before the turns; `rest` are the turns that follow
    "turn": "{% set rest = messages %}",
    "default": "{% set rest = messages %}{% if messages[0].role != 'system' %}{{ '%B%system%H%You are a helpful assistant.%E%' }}{% endif %}",
    "refuse": "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% set rest = messages %}",
    "first": "{% set s = '' %}{% set rest = messages %}{% if messages[0].role == 'system' %}{% set s = messages[0].content + '\\n\\n' %}{% set rest = messages[1:] %}{% endif %}",
    "last": "{% set s = '' %}{% set rest = messages %}{% if messages[0].role == 'system' %}{% set s = messages[0].content + '\\n\\n' %}{% set rest = messages[1:] %}{% endif %}",
    "bare": "{% set rest = messages %}{% if messages[0].role == 'system' %}{{ messages[0].content + '%SEP%' }}{% set rest = messages[1:] %}{% endif %}",
    "ignore": "{% set rest = messages %}{% if messages[0].role == 'system' %}{% set rest = messages[1:] %}{% endif %}",
    "dated": "{{ '%B%system%H%Today Date: ' + strftime_now('%d %b %Y') + '\\n' }}{% set rest = messages %}{% if messages[0].role == 'system' %}{{ messages[0].content | trim }}{% set rest = messages[1:] %}{% endif %}{{ '%E%' }}",
}
TOOLS = {  # what is offered, before the turns
    "no": "",
    "json": "{% if tools %}{{ '%B%system%H%tools: ' }}{% for t in tools %}{{ t | tojson }}{% endfor %}{{ '%E%' }}{% endif %}",
    "typed": "{% if tools %}{{ '%B%developer%H%' }}{% for t in tools %}{{ 'type ' + t.function.name + ' = () => any;' }}{% endfor %}{{ '%E%' }}{% endif %}",
}
CALLS = {  # after an assistant's content
    "no": "",
    "xml": "{% for t in m.tool_calls or [] %}{{ '\\n<tool_call>\\n{\"name\": \"' + t.function.name + '\", \"arguments\": ' + t.function.arguments | tojson + '}\\n</tool_call>' }}{% endfor %}",
    "list": "{% if m.tool_calls %}{{ '[TOOL_CALLS]' }}{% for t in m.tool_calls %}{{ t.function | tojson }}{% endfor %}{% endif %}",
    "instead": "{% if m.tool_calls %}{% set c = '' %}{{ m.tool_calls[0].function | tojson }}{% endif %}",
}


@dataclass(frozen=True)
class Kind:
    """One template. `begin`, role, `head`, text, `end` is a turn; `roles` renames user, assistant, system and tool."""

    begin: str = ""
    head: str = ""
    end: str = ""
    roles: tuple[str, str, str, str] = ("user", "assistant", "system", "tool")
    system: str = "turn"
    thought: str = "none"
    tools: str = "no"
    calls: str = "no"
    key: str = "reasoning_content"  # of a thought, as the template calls it
    ask: str = ""  # opens an answer, after its header
    bos: str = ""
    eos: str = ""  # end of the assistant's turn, if not `end`
    close: str = ""  # at the end of a conversation that is not continued
    trim: bool = False
    alternate: bool = False
    added: tuple[str, ...] = ()  # tokens that are not special

    def template(self) -> str:
        """As Jinja."""
        user, assistant, system, tool = self.roles
        names = f"{{'user': '{user}', 'assistant': '{assistant}', 'system': '{system}', 'tool': '{tool}'}}"
        where = {"first": "loop.first", "last": "loop.last"}.get(self.system, "false")
        words = "{{ " + ("c | trim" if self.trim else "c") + " }}"
        instead = self.calls == "instead"
        text = [
            "{%- set names = " + names + " -%}" + LAST_USER + "{{- '%BOS%' }}" + SYSTEMS[self.system],
            TOOLS[self.tools] + "{% for m in rest %}" + ALTERNATE * self.alternate,
            "{{ '%B%' + names[m.role] + '%H%' }}{% if m.role == 'assistant' %}",
            THOUGHTS[self.thought].replace("%KEY%", self.key) + CALLS[self.calls] * instead,
            words + CALLS[self.calls] * (not instead) + "{{ '%EOS%' }}{% else %}{% set c = m.content %}",
            "{% if m.role == 'user' and " + where + " %}{% set c = s + c %}{% endif %}" + words + "{{ '%E%' }}",
            "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '%B%' + names.assistant + '%H%%ASK%' }}",
            "{% else %}{{ '%CLOSE%' }}{% endif %}",
        ]
        parts = {"BOS": self.bos, "B": self.begin, "H": self.head, "EOS": self.eos or self.end, "E": self.end}
        parts |= {"ASK": self.ask, "CLOSE": self.close, "SEP": self.end or "\n\n"}
        whole = "".join(text)
        for name, value in parts.items():
            whole = whole.replace(f"%{name}%", value)
        return whole.replace("\n", "\\n")

    def specials(self) -> list[str]:
        """Every token that the template frames turns with."""
        headers = [self.begin + role + self.head for role in self.roles]
        parts = [
            *headers,
            self.end,
            self.eos,
            self.bos,
            self.close,
            self.ask,
            THOUGHTS[self.thought],
            CALLS[self.calls],
        ]
        found = re.findall(
            r"<[|\uff5c][^<>]*?[|\uff5c]>|</?[a-z_0-9]+>|\[/?[A-Z_]+\]|\[\|[^\[]*?\|\]|<sop>", "".join(parts)
        )
        ends = ["<eos>"]  # for those that end with words alone
        return list(dict.fromkeys([*ends, *(token for token in found if token not in WORDS)]))

    def tokenizer(self) -> Any:
        """A byte-level tokenizer whose tokens are those of the template, a few merges aside."""
        bpe = Tokenizer(models.BPE())
        bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=400, special_tokens=self.specials(), initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )  # fmt: skip
        bpe.train_from_iterator(["the answer is that the sea is blue"] * 3, trainer)
        bpe.add_tokens([AddedToken(token, special=False, normalized=False) for token in self.added])
        end = next((token for token in self.specials() if token in (self.eos or self.end)), "<eos>")
        fast = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token=end, bos_token=self.bos or None)
        fast.chat_template = self.template()
        return fast


WORDS = ("<think>", "</think>", "<tool_call>", "</tool_call>")
ALTERNATE = (
    "{% if m.role == 'user' and not loop.first and loop.previtem.role == 'user' %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
)
CHATML: dict[str, Any] = {"begin": "<|im_start|>", "head": "\n", "end": "<|im_end|>\n"}
HERMES: dict[str, Any] = {**CHATML, "tools": "json", "calls": "xml", "added": WORDS}
QWEN3: dict[str, Any] = {**HERMES, "thought": "trim"}
LLAMA3: dict[str, Any] = {
    "begin": "<|start_header_id|>", "head": "<|end_header_id|>\n\n", "end": "<|eot_id|>", "bos": "<|begin_of_text|>",
    "trim": True,
}  # fmt: skip
GEMMA: dict[str, Any] = {
    "begin": "<start_of_turn>", "head": "\n", "end": "<end_of_turn>\n", "bos": "<bos>", "trim": True,
    "roles": ("user", "model", "system", "tool"), "alternate": True,
}  # fmt: skip
INST: dict[str, Any] = {
    "roles": ("[INST] ", "", "[SYSTEM_PROMPT] ", "[TOOL_RESULTS] "), "end": " [/INST]", "eos": "</s>", "bos": "<s>",
}  # fmt: skip
PIPES: dict[str, Any] = {"begin": "<|", "head": "|>\n", "end": "<|end|>\n"}
COHERE: dict[str, Any] = {
    "begin": "<|START_OF_TURN_TOKEN|>", "end": "<|END_OF_TURN_TOKEN|>", "bos": "<bos>",
    "roles": ("<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>", "<|SYSTEM_TOKEN|>", "<|SYSTEM_TOKEN|>"),
}  # fmt: skip
DEEPSEEK: dict[str, Any] = {
    "roles": ("<\uff5cUser\uff5c>", "<\uff5cAssistant\uff5c>", "", "<\uff5ctool\uff5c>"), "bos": "<\uff5cbegin\uff5c>",
    "eos": "<\uff5cend\uff5c>", "system": "bare", "added": WORDS,
}  # fmt: skip
GRANITE: dict[str, Any] = {"begin": "<|start_of_role|>", "head": "<|end_of_role|>", "end": "<|end_of_text|>\n"}
LINES: dict[str, Any] = {"roles": ("User: ", "Assistant: ", "System: ", "Tool: "), "end": "\n\n", "eos": "</s>"}
GLM: dict[str, Any] = {"begin": "<|", "head": "|>\n", "bos": "[gMASK]<sop>", "eos": "<|endoftext|>"}
HARMONY: dict[str, Any] = {
    "begin": "<|start|>", "end": "<|end|>", "eos": "<|return|>", "system": "dated",
    "roles": ("user<|message|>", "assistant", "system<|message|>", "tool<|message|>"),
}  # fmt: skip
KINDS = {
    "ChatML": Kind(**CHATML),
    "ChatML, default system": Kind(**CHATML, system="default"),
    "ChatML, trimmed": Kind(**CHATML, trim=True),
    "ChatML, marks of thoughts": Kind(**CHATML, added=WORDS),
    "Llama 2": Kind(**INST, system="first"),
    "Llama 3": Kind(**LLAMA3),
    "Llama 3.1": Kind(**LLAMA3, system="dated", tools="json", calls="instead"),
    "Llama 3.3": Kind(**LLAMA3, system="dated", tools="json"),
    "Llama 4": Kind(begin="<|header_start|>", head="<|header_end|>\n\n", end="<|eot|>", bos="<|begin_of_text|>",
                    tools="json", calls="xml"),
    "Mistral v1": Kind(**INST, system="refuse", alternate=True),
    "Mistral v3": Kind(**INST, system="last", calls="list", alternate=True),
    "Mistral v7": Kind(**{**INST, "end": "[/INST]"}, tools="json", calls="list"),
    "Mistral tekken": Kind(roles=("[INST]", "", "[SYSTEM_PROMPT]", "[TOOL_RESULTS]"), end="[/INST]", eos="</s>",
                           bos="<s>", system="first", tools="json", calls="list"),
    "Magistral": Kind(**{**INST, "end": "[/INST]"}, thought="brackets", calls="list"),
    "Gemma 1": Kind(**GEMMA, system="refuse"),
    "Gemma 2": Kind(**GEMMA, system="refuse"),
    "Gemma 3": Kind(**GEMMA, system="first"),
    "Phi 3": Kind(**PIPES, close="<|endoftext|>", system="ignore"),
    "Phi 3.5": Kind(**PIPES, close="<|endoftext|>"),
    "Phi 4": Kind(begin="<|im_start|>", head="<|im_sep|>", end="<|im_end|>"),
    "Phi 4 mini": Kind(begin="<|", head="|>", end="<|end|>", close="<|endoftext|>", tools="json"),
    "Phi 4 reasoning": Kind(begin="<|im_start|>", head="<|im_sep|>", end="<|im_end|>", thought="all", added=WORDS[:2]),
    "Qwen 2": Kind(**CHATML, system="default", added=WORDS[2:]),
    "Qwen 2.5": Kind(**HERMES, system="default"),
    "QwQ": Kind(**HERMES, thought="drop", ask="<think>\n"),
    "Qwen 3": Kind(**QWEN3),
    "Qwen 3 Thinking": Kind(**{**HERMES, "thought": "always"}, ask="<think>\n"),
    "Qwen 3 Instruct": Kind(**HERMES),
    "Qwen 3.5": Kind(**{**HERMES, "thought": "always"}, trim=True),
    "GLM 4": Kind(**GLM, tools="json"),
    "GLM 4.5": Kind(**GLM, thought="line", tools="json", calls="xml", added=WORDS),
    "DeepSeek V2": Kind(**{**LINES, "eos": "<\uff5cend\uff5c>"}, bos="<\uff5cbegin\uff5c>", system="bare"),
    "DeepSeek V3": Kind(**DEEPSEEK),
    "DeepSeek R1": Kind(**DEEPSEEK, thought="drop", ask="<think>\n"),
    "DeepSeek V3.1": Kind(**DEEPSEEK, thought="closed", ask="</think>"),
    "Nemotron": Kind(**CHATML, ask="<think>\n", added=WORDS),
    "Nemotron 3": Kind(**{**HERMES, "thought": "all"}, ask="<think>\n"),
    "LFM 2": Kind(**CHATML, bos="<|startoftext|>", tools="json", thought="none", added=WORDS),
    "Granite 3": Kind(**GRANITE, system="dated", tools="json"),
    "Granite 4": Kind(**GRANITE, tools="json", calls="xml", added=WORDS[2:]),
    "Command R": Kind(**COHERE),
    "Command A": Kind(**COHERE, system="default", tools="json", calls="list"),
    "Aya": Kind(**COHERE),
    "OLMo 2": Kind(begin="<|", head="|>\n", end="\n", bos="<|endoftext|>", eos="<|endoftext|>\n"),
    "OLMo 3 Think": Kind(**CHATML, ask="<think>", added=WORDS[:2]),
    "Falcon": Kind(**{**LINES, "eos": "<|endoftext|>\n"}),
    "Zephyr": Kind(begin="<|", head="|>\n", end="</s>\n"),
    "Vicuna": Kind(roles=("USER: ", "ASSISTANT: ", "", "TOOL: "), end=" ", eos="</s>", system="bare", bos="<s>"),
    "Alpaca": Kind(roles=("### Instruction:\n", "### Response:\n", "", "### Input:\n"), end="\n\n", system="bare"),
    "StableLM": Kind(begin="<|", head="|>\n", end="<|endoftext|>\n"),
    "Yi": Kind(**CHATML, system="ignore"),
    "InternLM": Kind(**CHATML, bos="<s>"),
    "Baichuan": Kind(roles=("<reserved_106>", "<reserved_107>", "", "<reserved_108>"), eos="</s>", system="bare"),
    "SmolLM 2": Kind(**CHATML, system="default"),
    "SmolLM 3": Kind(**{**HERMES, "thought": "trim"}, system="dated"),
    "Hermes": Kind(**HERMES, bos="<|begin_of_text|>"),
    "gpt-oss": Kind(**HARMONY, thought="channel", key="thinking", tools="typed"),
    "Kimi": Kind(roles=("<|im_user|>user", "<|im_assistant|>assistant", "<|im_system|>system", "<|im_system|>tool"),
                 head="<|im_middle|>", end="<|im_end|>", system="default", tools="json"),
    "MiniMax": Kind(begin="]~b]", head="\n", end="[e~[\n", roles=("user", "ai", "system", "tool"), thought="trim",
                    ask="<think>\n", added=(*WORDS, "]~b]", "[e~[")),
    "Hunyuan": Kind(roles=("<|hy_User|>", "<|hy_Assistant|>", "", "<|hy_tool|>"), bos="<|hy_begin|>", eos="<|hy_end|>",
                    system="bare", added=WORDS),
    "ERNIE": Kind(**LINES, bos="<|begin_of_sentence|>", thought="all", added=WORDS[:2]),
    "Exaone": Kind(begin="[|", head="|]", end="[|endofturn|]\n", thought="trim", added=WORDS[:2], tools="json"),
    "Solar": Kind(roles=("### User:\n", "### Assistant:\n", "### System:\n", "### Tool:\n"), end="\n\n", eos="</s>"),
    "Jamba": Kind(begin="<|bom|><|", head="|> ", end="<|eom|>", bos="<|startoftext|>", tools="json", calls="xml"),
    "xLAM": Kind(**LLAMA3, tools="json", calls="instead"),
    "Seed": Kind(begin="<seed_bos>", head="\n", end="<seed_eos>", thought="brackets"),
}  # fmt: skip
