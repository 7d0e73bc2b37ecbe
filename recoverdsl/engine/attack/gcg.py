"""Greedy coordinate gradient (Zou et al. 2023): suffixes of real tokens, improved one swap at a time.

nanogcg, the usual library, takes one example at a time through a plain Hugging Face model, and pins
transformers below 4.48. A clamp at absolute positions, a batch of examples over a common prefix and a
term for the protected features would all have to bypass it; the rest is the hundred lines below.

Letters: B example, N token of the suffix, K considered tokens, V vocabulary, D residual width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from attrs import define, frozen
from torch import Tensor

from recoverdsl.engine.attack.suffix_problem import SuffixProblem
from recoverdsl.engine.model.batch_size import batch_size
from recoverdsl.engine.model.loaded_model import LoadedModel, PromptParts
from recoverdsl.errors import UnavailableError

ROWS = 8192
"""How many embeddings are multiplied with the gradient at a time."""


@frozen(eq=False)
class TypableTokens:
    """The tokens of plain text that a suffix may be made of."""

    model: LoadedModel
    allowed: list[int]
    """Tokens of printable ASCII that are not special, with something visible in them."""
    plain: list[int]
    """The same tokens, an exclamation mark first: those that a suffix may be made of at the start."""

    @classmethod
    def of(cls, model: LoadedModel) -> TypableTokens:
        """Return the typable tokens of a model.

        Raises:
            UnavailableError: its tokenizer has none.
        """
        tokenizer = model.tokenizer
        count = min(len(tokenizer), model.family.head.weight.shape[0])
        special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
        texts = tokenizer.batch_decode([[id] for id in range(count)], **_EXACTLY)
        allowed = [
            id
            for id, text in enumerate(texts)
            if id not in special and text.isascii() and text.isprintable() and text.strip()
        ]
        if not allowed:
            raise UnavailableError("the model's tokenizer has no token of plain text for a suffix")
        marks = [ids[0] for ids in map(model.encode_text, (" !", "!")) if len(ids) == 1]
        known = set(allowed)
        return cls(model, allowed, list(dict.fromkeys([m for m in marks if m in known] + allowed)))

    def round_trips(self, parts: PromptParts, suffixes: Sequence[list[int]]) -> list[bool]:
        """Return whether a prompt with each suffix, written as text, is tokenized to the same
        tokens again."""
        # After another token, since a decoder may drop the space before a first one.
        anchor = self.plain[:1]
        decode = self.model.tokenizer.batch_decode
        (shown,) = decode([anchor], **_EXACTLY)
        texts = decode([anchor + ids for ids in suffixes], **_EXACTLY)
        read = self.model.tokenizer(
            [parts.before + text.removeprefix(shown) + parts.after for text in texts],
            add_special_tokens=not parts.chat,
        ).input_ids
        return [
            list(ids) == parts.before_ids + suffix + parts.after_ids
            for ids, suffix in zip(read, suffixes, strict=True)
        ]

    def start_token(self, parts: PromptParts, tokens: int) -> int:
        """Return the plain token to begin with: the first that round-trips when repeated.

        Raises:
            UnavailableError: there is none.
        """
        for id in self.plain[:1000]:
            if self.round_trips(parts, [[id] * tokens])[0]:
                return id
        raise UnavailableError(
            "no suffix of real tokens can be written as text and read again",
            why="the tokenizer splits the text of its own tokens differently",
            help="take `soft_suffix` instead",
        )


_EXACTLY = {"skip_special_tokens": False, "clean_up_tokenization_spaces": False}


@define(eq=False)
class Gcg:
    """Suffixes of ids (B, N). The gradient of the objective ranks tokens for each place; some of the
    swaps to the best of them are drawn and tried, and the best is taken if it improves the suffix."""

    typable: TypableTokens
    prompts: Sequence[PromptParts]
    """One for each example of the batch."""
    generators: Sequence[torch.Generator]
    """One for each example of the batch."""
    candidates: int
    top: int

    def states(self, problem: SuffixProblem, suffix: Tensor) -> Tensor:
        """Return boundary 0 of the suffixes, (B, N, D)."""
        return problem.states_of(suffix)

    @torch.no_grad()
    def improve(
        self, problem: SuffixProblem, suffix: Tensor, total_B: Tensor, gradient_BND: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the suffixes after the best swap, and how many were tried for each example, (B,)."""
        best_BNK = self.top_tokens(problem, suffix, gradient_BND).cpu()
        tries = [
            self._swaps(row, suffix[row].tolist(), best_NK) for row, best_NK in enumerate(best_BNK)
        ]
        counts = [len(swaps) for swaps in tries]
        tried_B = torch.tensor(counts, device=suffix.device)
        rows_C = torch.arange(len(suffix), device=suffix.device).repeat_interleave(tried_B)
        if not len(rows_C):
            return suffix, tried_B
        ids_CN = torch.tensor([ids for swaps in tries for ids in swaps], device=suffix.device)
        totals_C = self._totals(problem, rows_C, ids_CN)
        suffix = suffix.clone()
        for row, (ids_cN, totals_c) in enumerate(
            zip(torch.split(ids_CN, counts), torch.split(totals_C, counts), strict=True)
        ):
            if len(totals_c) and totals_c.max() > total_B[row]:
                suffix[row] = ids_cN[totals_c.argmax()]
        return suffix, tried_B

    def take(self, rows: Tensor) -> None:
        """Keep these rows of the batch only."""
        self.prompts = [self.prompts[row] for row in rows.tolist()]
        self.generators = [self.generators[row] for row in rows.tolist()]

    def top_tokens(self, problem: SuffixProblem, suffix: Tensor, gradient_BND: Tensor) -> Tensor:
        """Return, for each place of a suffix, the other tokens that would raise the objective most to
        first order, (B, N, K)."""
        allowed_V = torch.tensor(self.typable.allowed, device=suffix.device)
        # A position adds the same to all tokens, and does not change their order.
        gain_BNV = torch.cat(
            [
                gradient_BND @ problem.family.embed(ids[None], torch.zeros_like(ids[None]))[0].float().T
                for ids in torch.split(allowed_V, ROWS)
            ],
            dim=2,
        )  # fmt: skip
        gain_BNV = gain_BNV.masked_fill(allowed_V == suffix[..., None], -torch.inf)
        return allowed_V[gain_BNV.topk(min(self.top, max(1, len(allowed_V) - 1))).indices]

    def _swaps(self, row: int, ids: list[int], best_NK: Tensor) -> list[list[int]]:
        """Return different single swaps in random order, at most `candidates` that round-trip as
        text."""
        order = torch.randperm(best_NK.numel(), generator=self.generators[row])
        kept: list[list[int]] = []
        for block in torch.split(order, self.candidates):
            swapped = []
            for number in block.tolist():
                place, choice = divmod(number, best_NK.shape[1])
                swapped.append([*ids[:place], int(best_NK[place, choice]), *ids[place + 1 :]])
            kept += [
                ids
                for ids, same in zip(
                    swapped, self.typable.round_trips(self.prompts[row], swapped), strict=True
                )
                if same
            ]
            if len(kept) >= self.candidates:
                break
        return kept[: self.candidates]

    def _totals(self, problem: SuffixProblem, rows_C: Tensor, ids_CN: Tensor) -> Tensor:
        """Return the objective of each candidate, (C,), computed in batches that fit into memory."""
        size = batch_size(problem.family, problem.tokens.ids_BT.shape[1], len(rows_C))
        totals = []
        for rows, ids in zip(torch.split(rows_C, size), torch.split(ids_CN, size), strict=True):
            live = problem.take(rows)
            totals.append(live.objective(live.states_of(ids)).total_B)
        return torch.cat(totals).nan_to_num(nan=-torch.inf)


@define(eq=False)
class RandomSwaps(Gcg):
    """The same without a gradient: swaps to tokens drawn at random, of which the best is taken."""

    def top_tokens(self, problem: SuffixProblem, suffix: Tensor, gradient_BND: Tensor) -> Tensor:
        """Return tokens for each place of a suffix, drawn at random, (B, N, K)."""
        allowed_V = torch.tensor(self.typable.allowed, device=suffix.device)
        size = (suffix.shape[1], min(self.top, len(allowed_V)))
        return torch.stack(
            [
                allowed_V[torch.randint(len(allowed_V), size, generator=generator)]
                for generator in self.generators
            ]
        )
