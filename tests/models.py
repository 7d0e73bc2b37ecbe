"""Small random models, SAEs and tokenizers, made where a test needs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

transformers.logging.set_verbosity_error()


def llama(seed: int = 0, **changes: Any) -> Any:
    """Return a random Llama with grouped-query attention."""
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        **{
            "vocab_size": 61, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 4,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
            "initializer_range": 0.25, "tie_word_embeddings": False, **changes,
        }
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config).eval().requires_grad_(False)


def qwen2(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    config = transformers.Qwen2Config(
        vocab_size=61, hidden_size=24, intermediate_size=40, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.25,
    )  # fmt: skip
    return transformers.Qwen2ForCausalLM(config).eval().requires_grad_(False)


def gpt2(seed: int = 0, **changes: Any) -> Any:
    torch.manual_seed(seed)
    config = transformers.GPT2Config(
        **{
            "vocab_size": 61, "n_embd": 24, "n_layer": 4, "n_head": 4, "n_positions": 64,
            "initializer_range": 0.25, "bos_token_id": 0, "eos_token_id": 0, **changes,
        }
    )  # fmt: skip
    return transformers.GPT2LMHeadModel(config).eval().requires_grad_(False)


def _move_norms(model: Any) -> Any:
    """Give norms weights: Gemma's are 0 when new, which means a factor of 1."""
    for name, value in model.named_parameters():
        if "norm" in name:
            torch.nn.init.normal_(value, std=0.3)
    return model.eval().requires_grad_(False)


def gemma(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    config = transformers.GemmaConfig(
        vocab_size=61, hidden_size=24, intermediate_size=40, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=1, head_dim=8, max_position_embeddings=64, initializer_range=0.25,
    )  # fmt: skip
    return _move_norms(transformers.GemmaForCausalLM(config))


def gemma2(seed: int = 0, **changes: Any) -> Any:
    """Return a random Gemma 2 with softcaps so low that they matter, and a short window."""
    torch.manual_seed(seed)
    config = transformers.Gemma2Config(
        **{
            "vocab_size": 61, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 4,
            "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
            "query_pre_attn_scalar": 4, "max_position_embeddings": 64, "sliding_window": 32,
            "final_logit_softcapping": 2.0, "attn_logit_softcapping": 1.5,
            "initializer_range": 0.25, "attn_implementation": "eager", **changes,
        }
    )  # fmt: skip
    return _move_norms(transformers.Gemma2ForCausalLM(config))


FAMILIES = {"llama": llama, "gpt2": gpt2, "qwen2": qwen2, "gemma": gemma, "gemma2": gemma2}


def jumprelu(
    d_in: int = 24, d_sae: int = 64, seed: int = 0, threshold: float = 0.05, **metadata: Any
) -> Any:
    """Return a random JumpReLU SAE of sae_lens."""
    from sae_lens import JumpReLUSAE, JumpReLUSAEConfig

    torch.manual_seed(seed)
    sae = JumpReLUSAE(JumpReLUSAEConfig(d_in=d_in, d_sae=d_sae, device="cpu"))
    for name, value in metadata.items():
        setattr(sae.cfg.metadata, name, value)
    with torch.no_grad():
        sae.W_enc.copy_(torch.randn(d_in, d_sae) / d_in**0.5)
        sae.W_dec.copy_(torch.nn.functional.normalize(torch.randn(d_sae, d_in), dim=1))
        sae.b_enc.copy_(0.1 * torch.randn(d_sae))
        sae.b_dec.copy_(0.1 * torch.randn(d_in))
        sae.threshold.fill_(threshold)
    return sae.requires_grad_(False).eval()


def tokenizer(words: list[str]) -> Any:
    """Return a tokenizer with one token for each word and its leading space."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Metaspace

    vocabulary = {"<unk>": 0} | {word: index + 1 for index, word in enumerate(words)}
    core = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = Metaspace(replacement=" ", prepend_scheme="never")
    return transformers.PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>")


def save(model: Any, tokenizer: Any, folder: Path) -> Path:
    """Save a model with its tokenizer as safetensors."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def sae(architecture: str, d_in: int = 24, d_sae: int = 64, seed: int = 0, **config: Any) -> Any:
    """Return a random SAE of an architecture that sae_lens names, every weight of it away from its
    default."""
    from sae_lens.registry import get_sae_class

    torch.manual_seed(seed)
    kind, config_kind = get_sae_class(architecture)
    made = kind(config_kind(d_in=d_in, d_sae=d_sae, device="cpu", **config))
    with torch.no_grad():
        for name, value in made.named_parameters():
            spread = 0.1 if value.dim() == 1 else d_in**-0.5
            value.copy_(spread * torch.randn(value.shape))
            if name == "threshold":
                value.abs_()
    return made.requires_grad_(False).eval()
