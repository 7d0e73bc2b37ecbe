"""A Hugging Face model, loaded from a local path and frozen, with its tokenizer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from attrs import frozen

from recoverdsl.engine.model.families import FUSED, Family, adapt
from recoverdsl.engine.model.gguf_parsing import parsed_once
from recoverdsl.errors import UnavailableError
from recoverdsl.measure.thinking import SPECIAL_TOKENS, opened_at_the_end
from recoverdsl.sources.data import Example

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


_MARK = "QXJZMARKZJXQ"
"""A placeholder for a suffix, by which its place in a chat template is found."""


@frozen
class PromptParts:
    """A prompt in two parts, with room for a suffix: after the request, before the turn ends."""

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
        """Return token ids without any special token."""
        return list(self.tokenizer(text, add_special_tokens=False).input_ids)

    def encode(self, prompt: str, chat: bool) -> list[int]:
        """Return the token ids of a whole prompt. A chat template writes the special tokens itself."""
        return list(self.tokenizer(prompt, add_special_tokens=not chat).input_ids)

    def decode(self, ids: list[int]) -> str:
        """Return the text of generated tokens, without special ones."""
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True)
        return text

    def decode_with_thinking(self, ids: list[int], opened: str = "") -> str:
        """Return the text of generated tokens for a judge, with the tags around its thinking.

        A tokenizer may count tags among its special tokens, which `decode` leaves out.

        Args:
            opened: the tag with which the prompt ended, if the chat template opens the thinking.
        """
        if not self._tag_ids:
            return opened + self.decode(ids)
        special = set(self.tokenizer.all_special_ids) - self._tag_ids
        text: str = self.tokenizer.decode(
            [id for id in ids if id not in special], skip_special_tokens=False
        )
        return opened + text

    @cached_property
    def _tag_ids(self) -> frozenset[int]:
        """Ids of special tokens that make up a tag around thinking."""
        special = self.tokenizer.all_special_tokens
        tags = [token for token in special if token in SPECIAL_TOKENS]
        return frozenset(self.tokenizer.convert_tokens_to_ids(tags))

    def opened_thinking(self, chat: bool) -> str:
        """Return the tag with which the chat template opens thinking after every prompt, or nothing."""
        return opened_at_the_end(self._chat(_MARK)) if chat else ""

    @property
    def end_ids(self) -> frozenset[int]:
        """Ids of the tokens that end a generated text."""
        config = getattr(self.family.model, "generation_config", None)
        named = (getattr(config, "eos_token_id", None), self.tokenizer.eos_token_id)
        ids = [id for ids in named for id in (ids if isinstance(ids, list) else [ids])]
        return frozenset(id for id in ids if id is not None)

    def _chat(self, prompt: str) -> str:
        """Return a prompt in the chat template of the tokenizer, up to where the answer begins."""
        try:
            text: str = self.tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True,
                chat_template=_without_date(self.tokenizer.chat_template),
            )  # fmt: skip
        # A template is a program that comes with the model, and may fail in any way.
        except Exception as error:
            raise UnavailableError(
                "the model's chat template cannot be used", why=str(error).splitlines()[0],
                help="leave `chat` out of the data block, or take a model that has one",
            ) from error  # fmt: skip
        return text

    def encode_prompts(
        self, examples: Sequence[Example], chat: bool, after: int = 0
    ) -> list[list[int]]:
        """Return the token ids of each prompt.

        Args:
            chat: whether the tokenizer's chat template is applied.
            after: how many tokens are to be generated after each.

        Raises:
            UnavailableError: a prompt is empty, or longer with those tokens than the model reads.
        """
        rows = []
        for example in examples:
            ids = self.encode(self._chat(example.prompt) if chat else example.prompt, chat)
            if not ids:
                raise UnavailableError(f"the prompt of example {example.id} has no tokens")
            if len(ids) + after > self.family.max_positions:
                raise UnavailableError(
                    f"the prompt of example {example.id} has {len(ids)} tokens"
                    + (f" and {after} are to follow" if after else "")
                    + f", and the model reads {self.family.max_positions}"
                )
            rows.append(ids)
        return rows

    def prompt_parts(self, example: Example, chat: bool) -> PromptParts:
        """Return the prompt of an example as `encode_prompts` makes it, in two parts.

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
        # Where a token spans the place of the suffix, the text after it is encoded on its own.
        whole = ids[: len(before_ids)] == before_ids
        after_ids = ids[len(before_ids) :] if whole else self.encode_text(after)
        return PromptParts(before, after, before_ids, after_ids, chat)


def _without_date(template: Any) -> Any:
    """Return a chat template without today's date, so that a prompt is the same on every day.

    In its place is the date that such templates fall back on.
    """
    if not isinstance(template, str):
        return None
    return re.sub(r"strftime_now\([^()]*\)", '"26 Jul 2024"', template)


def load_model(path: Path, dtype: str, device: torch.device) -> LoadedModel:
    """Load a model folder, or a single GGUF file, with frozen weights.

    A GGUF file is unpacked into plain dense weights: packed ones have no exact input gradient.
    Code that comes with a model is never run, and only safetensors or GGUF weights are read.

    Raises:
        UnavailableError: it does not load, lacks weights, or is of a family that is not supported.
    """
    import transformers
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    # Whatever its config asks for: eager attention is correct for every model, if slow.
    options: dict[str, Any] = {"dtype": DTYPES[dtype], "attn_implementation": "eager"}
    folder, where = (path, {}) if path.is_dir() else (path.parent, {"gguf_file": path.name})
    if where:
        options["quantization_config"] = transformers.GgufConfig(dequantize=True)
    else:
        options["use_safetensors"] = True
    try:
        with parsed_once():
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
