"""Loading a Hugging Face model, frozen, from a local path."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from attrs import frozen

from recoverdsl.engine.model.families import FUSED, Family, adapt
from recoverdsl.errors import UnavailableError
from recoverdsl.sources.data import Example

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


_MARK = "QXJZMARKZJXQ"
"""Stands for a suffix while its place in a chat template is looked for."""


@frozen
class Around:
    """A prompt in two parts, with room for a suffix: behind the request, before the turn ends."""

    before: str
    after: str
    before_ids: list[int]
    after_ids: list[int]
    chat: bool


@frozen(eq=False)
class LoadedModel:
    """A frozen causal language model with its tokenizer and family adapter."""

    family: Family
    tokenizer: Any

    def encode_text(self, text: str) -> list[int]:
        """Token ids without any special token."""
        return list(self.tokenizer(text, add_special_tokens=False).input_ids)

    def encode(self, prompt: str, chat: bool) -> list[int]:
        """Token ids of a whole prompt. A chat template writes the special tokens itself."""
        return list(self.tokenizer(prompt, add_special_tokens=not chat).input_ids)

    def decode(self, ids: list[int]) -> str:
        """The text of generated tokens, without special ones."""
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True)
        return text

    @property
    def ends(self) -> frozenset[int]:
        """Tokens that end a generated text."""
        config = getattr(self.family.model, "generation_config", None)
        named = (getattr(config, "eos_token_id", None), self.tokenizer.eos_token_id)
        ids = [id for ids in named for id in (ids if isinstance(ids, list) else [ids])]
        return frozenset(id for id in ids if id is not None)

    def _chat(self, prompt: str) -> str:
        """A prompt in the chat template of the tokenizer, up to where the answer begins."""
        try:
            text: str = self.tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True,
                chat_template=_undated(self.tokenizer.chat_template),
            )  # fmt: skip
        # A template is a program that comes with the model, and may fail in any way.
        except Exception as error:
            raise UnavailableError(
                "the model's chat template cannot be used", why=str(error).splitlines()[0],
                help="leave `chat` out of the data block, or take a model that has one",
            ) from error  # fmt: skip
        return text

    def encode_prompts(
        self, examples: Sequence[Example], chat: bool, behind: int = 0
    ) -> list[list[int]]:
        """Token ids of each prompt as the tokenizer makes them, chat template applied if asked.

        Args:
            behind: how many tokens are to be generated behind each.

        Raises:
            UnavailableError: a prompt is empty, or longer than the model reads with those behind it.
        """
        rows = []
        for example in examples:
            ids = self.encode(self._chat(example.prompt) if chat else example.prompt, chat)
            if not ids:
                raise UnavailableError(f"the prompt of example {example.id} has no tokens")
            if len(ids) + behind > self.family.max_positions:
                raise UnavailableError(
                    f"the prompt of example {example.id} has {len(ids)} tokens"
                    + (f" and {behind} are to follow" if behind else "")
                    + f", and the model reads {self.family.max_positions}"
                )
            rows.append(ids)
        return rows

    def around(self, example: Example, chat: bool) -> Around:
        """The prompt of an example as `encode_prompts` makes it, in two parts.

        Raises:
            UnavailableError: the chat template does not show where the request ends.
        """
        before, after = example.prompt, ""
        if chat:
            text = self._chat(example.prompt)
            _, found, after = self._chat(example.prompt + _MARK).rpartition(_MARK)
            if not found or not text.endswith(after):
                raise UnavailableError(
                    "the model's chat template does not show where the user's request ends",
                    where=f"example {example.id}",
                    help="leave `chat` out of the data block, or attack with a δ instead of a suffix",
                )
            before = text[: len(text) - len(after)]
        ids, before_ids = self.encode(before + after, chat), self.encode(before, chat)
        # Where a token reaches over the place, what is behind it becomes tokens of its own.
        whole = ids[: len(before_ids)] == before_ids
        after_ids = ids[len(before_ids) :] if whole else self.encode_text(after)
        return Around(before, after, before_ids, after_ids, chat)


def _undated(template: Any) -> Any:
    """A chat template without today's date, so that a prompt is the same on every day.

    Where the template asks for it, the date that such templates themselves fall back on stands.
    """
    if not isinstance(template, str):
        return None
    return re.sub(r"strftime_now\([^()]*\)", '"26 Jul 2024"', template)


def load(path: Path, dtype: str, device: torch.device) -> LoadedModel:
    """Loads a model folder, or a single GGUF file, with frozen weights.

    A GGUF file is unpacked into plain dense weights: packed ones have no exact input gradient.
    Code that comes with a model is never run, and only safetensors or GGUF weights are read.
    """
    import transformers
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    # Whatever its config asks for: eager attention is right for every model, and slow.
    options: dict[str, Any] = {"dtype": DTYPES[dtype], "attn_implementation": "eager"}
    folder, where = (path, {}) if path.is_dir() else (path.parent, {"gguf_file": path.name})
    if where:
        options["quantization_config"] = transformers.GgufConfig(dequantize=True)
    else:
        options["use_safetensors"] = True
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False, **where
        )
        model, loading = transformers.AutoModelForCausalLM.from_pretrained(
            folder, trust_remote_code=False, output_loading_info=True, **where, **options
        )
        if model.config.model_type in FUSED:
            model.set_attn_implementation("sdpa")
        model = model.requires_grad_(False).eval().to(device)
    # Files that do not fit together raise nearly anything, deep inside transformers.
    except Exception as error:
        raise UnavailableError(
            "the model cannot be loaded", where=str(path), why=f"{type(error).__name__}: {error}".splitlines()[0],
            help="it should be a causal language model that transformers loads: a folder with config.json, "
            "tokenizer files and safetensors weights, or a GGUF file",
        ) from error  # fmt: skip
    missing = sorted(loading["missing_keys"]) + [str(key) for key in loading["mismatched_keys"]]
    if missing:
        raise UnavailableError(
            "the model's weights are not whole", where=str(path),
            why=f"missing or of another shape: {', '.join(missing[:5])}",
            help="fetch the model again: transformers would fill what is missing at random",
        )  # fmt: skip
    return LoadedModel(adapt(model), tokenizer)
