"""Model families: where a Hugging Face model keeps its layers, final norm and head.

One adapter per family. An adapter runs the model's own modules one at a time, so that a caller can
stand between any two decoder layers; it adds no arithmetic of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from attrs import field, frozen
from torch import Tensor, nn

from recoverdsl.errors import UnavailableError

FUSED = ("llama", "mistral", "qwen2", "gpt2", "gemma")
"""Families that compute attention by torch's fused kernels. Gemma 2 caps its attention scores in
between, which the kernels cannot do, so it runs eager."""


class KeyValues(Protocol):
    """A cache of attention keys and values as a decoder layer uses it: the interface of
    transformers' caches."""

    def update(
        self, key_BHQd: Tensor, value_BHQd: Tensor, layer: int, *unused: Any
    ) -> tuple[Tensor, Tensor]: ...


@frozen(eq=False)
class Family:
    """A decoder-only transformer as a list of layers with the residual stream between them.

    Boundary b is the residual stream before decoder layer b; boundary `n_layers` is the one before
    the final norm. The output of layer L is boundary L + 1.
    """

    model: nn.Module
    layers: nn.ModuleList
    final_norm: nn.Module
    head: nn.Linear
    max_positions: int
    additive_masks: bool = False
    """Whether attention adds its mask to the scores, as eager attention does; else masks are boolean."""
    softcap: float | None = None
    """The bound of the logits, which a tanh maps into ±softcap; None if they are not capped."""
    mean_is_unused: bool = False
    """Whether nothing reads the mean of the residual stream: every norm takes it out, as LayerNorm
    does and RMSNorm does not."""

    @property
    def n_layers(self) -> int:
        return len(self.layers)

    @property
    def d_model(self) -> int:
        return int(self.head.weight.shape[1])

    @property
    def device(self) -> torch.device:
        return self.head.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.head.weight.dtype

    def embed(self, ids_BT: Tensor, positions_BT: Tensor) -> Tensor:
        """Return the residual stream at boundary 0, (B, T, d_model)."""
        raise NotImplementedError

    def positional(self, h_BQD: Tensor, positions_BQ: Tensor) -> Mapping[str, Any]:
        """Return the arguments by which every layer knows the positions, computed once for all
        layers."""
        raise NotImplementedError

    def layer(
        self,
        index: int,
        h_BQD: Tensor,
        mask_B1QK: Tensor,
        cache: KeyValues,
        positional: Mapping[str, Any],
    ) -> Tensor:
        """Return the residual stream after decoder layer `index`, (B, Q, d_model)."""
        output: Tensor | tuple[Tensor, ...] = self.layers[index](
            h_BQD, attention_mask=mask_B1QK, past_key_values=cache, use_cache=True, **positional
        )
        return output[0] if isinstance(output, tuple) else output

    def logits(self, h_ND: Tensor, tokens_NK: Tensor | None = None) -> Tensor:
        """Return the float32 logits of residual-stream rows: all (N, vocabulary), or those of
        `tokens_NK`."""
        h_ND = self.final_norm(h_ND.to(self.dtype))
        if tokens_NK is None:
            bias = None if self.head.bias is None else self.head.bias.float()
            return self._cap(nn.functional.linear(h_ND.float(), self.head.weight.float(), bias))
        rows_NKD = self.head.weight[tokens_NK]
        logits_NK = torch.einsum("nd,nkd->nk", h_ND.float(), rows_NKD.float())
        if self.head.bias is not None:
            logits_NK = logits_NK + self.head.bias[tokens_NK].float()
        return self._cap(logits_NK)

    def _cap(self, logits: Tensor) -> Tensor:
        return logits if self.softcap is None else self.softcap * (logits / self.softcap).tanh()

    def logprob(self, h_ND: Tensor, tokens_N: Tensor) -> tuple[Tensor, Tensor]:
        """Return the log-probability (N,) of one token after each row, and whether it is the most
        likely one.

        Differentiable in `h_ND`. The logits of the whole vocabulary are held for a few rows at a
        time only.
        """
        h_ND = self.final_norm(h_ND.to(self.dtype))
        logprob_N: Tensor
        logprob_N, likeliest_N = _LogProb.apply(  # type: ignore[no-untyped-call]
            h_ND.float(), self.head, tokens_N, self.softcap
        )
        return logprob_N, likeliest_N


class _LogProb(torch.autograd.Function):
    """log softmax(cap(W h + b))[token], whose gradient in h is computed in the forward pass.

    The backward pass then needs no logits, which are by far the largest tensor.
    """

    LOGITS = 1 << 25
    """How many logits are held at a time, as one tensor."""

    @staticmethod
    def forward(
        ctx: Any, h_ND: Tensor, head: nn.Linear, tokens_N: Tensor, softcap: float | None
    ) -> tuple[Tensor, Tensor]:
        weight_VD = head.weight.float()
        bias_V = None if head.bias is None else head.bias.float()
        rows = max(1, _LogProb.LOGITS // len(weight_VD))
        logprobs, likeliest, gradients = [], [], []
        for h_nD, tokens_n in zip(
            torch.split(h_ND, rows), torch.split(tokens_N, rows), strict=True
        ):
            logits_nV = nn.functional.linear(h_nD, weight_VD, bias_V)
            if softcap is not None:
                tanh_nV = logits_nV.div_(softcap).tanh_()
                logits_nV = softcap * tanh_nV
            log_softmax_nV = logits_nV.log_softmax(1)
            logprobs.append(log_softmax_nV.gather(1, tokens_n[:, None]).squeeze(1))
            likeliest.append(log_softmax_nV.argmax(1) == tokens_n)
            if ctx.needs_input_grad[0]:
                # ∂/∂logit is 1 − p at the token and −p elsewhere; the tanh's slope is 1 − tanh².
                slope_nV = log_softmax_nV.exp_().neg_()
                slope_nV[torch.arange(len(tokens_n), device=tokens_n.device), tokens_n] += 1
                if softcap is not None:
                    slope_nV *= tanh_nV.square_().neg_().add_(1)
                gradients.append(slope_nV @ weight_VD)
        if gradients:
            ctx.save_for_backward(torch.cat(gradients))
        likeliest_N = torch.cat(likeliest)
        ctx.mark_non_differentiable(likeliest_N)
        return torch.cat(logprobs), likeliest_N

    @staticmethod
    def backward(ctx: Any, grad_N: Tensor, _: Any) -> tuple[Tensor, None, None, None]:
        (gradient_ND,) = ctx.saved_tensors
        return grad_N[:, None] * gradient_ND, None, None, None


@frozen(eq=False)
class Llama(Family):
    """Llama and the families that share its module tree (Mistral without a window, Qwen 2)."""

    embedding: nn.Embedding = field(kw_only=True)
    rotary: nn.Module = field(kw_only=True)

    def embed(self, ids_BT: Tensor, positions_BT: Tensor) -> Tensor:
        h_BTD: Tensor = self.embedding(ids_BT)
        return h_BTD

    def positional(self, h_BQD: Tensor, positions_BQ: Tensor) -> Mapping[str, Any]:
        return {"position_embeddings": self.rotary(h_BQD, position_ids=positions_BQ)}


@frozen(eq=False)
class Gemma(Llama):
    """Gemma 1 and 2. Gemma 2 has two more norms inside its layers, and caps its logits.

    Every other layer of Gemma 2 sees a window of the last tokens only. Masks do not follow it:
    `max_positions` is the window, so that no text is longer and all layers see the whole of it.
    """

    def embed(self, ids_BT: Tensor, positions_BT: Tensor) -> Tensor:
        h_BTD: Tensor = self.embedding(ids_BT)
        # In transformers 5.0 the model scaled its embeddings, now their module does.
        if not hasattr(self.embedding, "embed_scale"):
            h_BTD = h_BTD * torch.tensor(self.d_model**0.5, dtype=h_BTD.dtype)
        return h_BTD


@frozen(eq=False)
class GPT2(Family):
    """GPT-2, with learned position embeddings."""

    embedding: nn.Embedding = field(kw_only=True)
    position_embedding: nn.Embedding = field(kw_only=True)

    def embed(self, ids_BT: Tensor, positions_BT: Tensor) -> Tensor:
        h_BTD: Tensor = self.embedding(ids_BT) + self.position_embedding(positions_BT)
        return h_BTD

    def positional(self, h_BQD: Tensor, positions_BQ: Tensor) -> Mapping[str, Any]:
        return {}


def adapt(model: Any) -> Family:
    """Return the adapter of a loaded Hugging Face causal language model.

    Raises:
        UnavailableError: the family is unknown, or uses something that its adapter does not do.
    """
    kind = model.config.model_type
    eager = model.config._attn_implementation == "eager"
    if kind in ("llama", "mistral", "qwen2"):
        window = getattr(model.config, "sliding_window", None)
        if window and getattr(model.config, "use_sliding_window", True):
            raise UnavailableError(
                f"the model uses sliding-window attention ({window} tokens), which is not supported",
                help="take a model with full attention, or set sliding_window to null in its config.json",
            )
        return Llama(
            model=model, layers=model.model.layers, final_norm=model.model.norm, head=model.lm_head,
            max_positions=model.config.max_position_embeddings, additive_masks=eager,
            embedding=model.model.embed_tokens, rotary=model.model.rotary_emb,
        )  # fmt: skip
    if kind in ("gemma", "gemma2"):
        config = model.config
        if getattr(config, "use_bidirectional_attention", None):
            raise UnavailableError("a model that sees what follows a token is not supported")
        if getattr(config, "attn_logit_softcapping", None) and not eager:
            raise UnavailableError(
                f"attention by {config._attn_implementation} leaves out the model's softcapping",
                help='load it with attn_implementation="eager"',
            )
        reach = [config.max_position_embeddings]
        if "sliding_attention" in (getattr(config, "layer_types", None) or ()):
            reach.append(config.sliding_window)
        return Gemma(
            model=model, layers=model.model.layers, final_norm=model.model.norm, head=model.lm_head,
            max_positions=min(reach), additive_masks=eager,
            softcap=getattr(config, "final_logit_softcapping", None),
            embedding=model.model.embed_tokens, rotary=model.model.rotary_emb,
        )  # fmt: skip
    if kind == "gpt2":
        if model.config.reorder_and_upcast_attn:
            raise UnavailableError("GPT-2 with reorder_and_upcast_attn is not supported")
        return GPT2(
            model=model, layers=model.transformer.h, final_norm=model.transformer.ln_f,
            head=model.lm_head, max_positions=model.config.n_positions, additive_masks=eager,
            mean_is_unused=True,
            embedding=model.transformer.wte, position_embedding=model.transformer.wpe,
        )  # fmt: skip
    raise UnavailableError(
        f"models of the family '{kind}' are not supported",
        why="the engine needs to know where the decoder layers, the final norm and the head are",
        help="supported: llama, mistral, qwen2, gpt2, gemma, gemma2; a new family is one adapter in recoverdsl/engine/model/families.py",
    )
