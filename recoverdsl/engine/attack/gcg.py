"""Greedy coordinate gradient (Zou et al. 2023): suffixes of real tokens, improved one swap at a time.

nanogcg, the usual library, takes one example at a time through a plain Hugging Face model, whose
transformers it pins below 4.48. A clamp at absolute positions, a batch of examples over a common
prefix and a term for the protected features would all have to go around it; what is left of it is the
hundred lines below.

Letters: B example, N token of the suffix, K considered tokens, V vocabulary, D residual width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from attrs import define, frozen
from torch import Tensor

from recoverdsl.engine.attack.suffix_problem import SuffixProblem
from recoverdsl.engine.model.loaded_model import Around, LoadedModel
from recoverdsl.engine.steps.batches import batch_size
from recoverdsl.errors import UnavailableError

ROWS = 8192
"""Embeddings that are multiplied with the gradient at a time."""


@frozen(eq=False)
class Writing:
    """Which tokens can be typed, and which rows of them are read again as they were meant."""

    model: LoadedModel
    allowed: list[int]
    """Tokens of printable ASCII that are not special, with something visible in them."""
    plain: list[int]
    """The same tokens, an exclamation mark before all others: what a suffix may be made of at first."""

    @classmethod
    def of(cls, model: LoadedModel) -> Writing:
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

    def survives(self, around: Around, suffixes: Sequence[list[int]]) -> list[bool]:
        """Whether a prompt with each suffix, written as text, is read as the same tokens again."""
        # Behind another token, since a decoder may drop the space before a first one.
        anchor = self.plain[:1]
        decode = self.model.tokenizer.batch_decode
        (shown,) = decode([anchor], **_EXACTLY)
        texts = decode([anchor + ids for ids in suffixes], **_EXACTLY)
        read = self.model.tokenizer(
            [around.before + text.removeprefix(shown) + around.after for text in texts],
            add_special_tokens=not around.chat,
        ).input_ids
        return [
            list(ids) == around.before_ids + suffix + around.after_ids
            for ids, suffix in zip(read, suffixes, strict=True)
        ]

    def start(self, around: Around, tokens: int) -> int:
        """The plain token to begin with: the first that survives when repeated.

        Raises:
            UnavailableError: there is none.
        """
        for id in self.plain[:1000]:
            if self.survives(around, [[id] * tokens])[0]:
                return id
        raise UnavailableError(
            "no suffix of real tokens can be written as text and read again",
            why="the tokenizer does not give back the tokens whose text it is given",
            help="take `soft_suffix` instead",
        )


_EXACTLY = {"skip_special_tokens": False, "clean_up_tokenization_spaces": False}


@define(eq=False)
class Gcg:
    """Ids (B, N). The gradient of the objective ranks tokens for each place; of the swaps to the best
    of them some are drawn and tried, and the best is taken if it is better than what there is."""

    writing: Writing
    around: Sequence[Around]
    """Of the examples of the batch, as are the generators."""
    generators: Sequence[torch.Generator]
    candidates: int
    top: int

    def states(self, problem: SuffixProblem, suffix: Tensor) -> Tensor:
        return problem.states_of(suffix)

    @torch.no_grad()
    def improve(
        self, problem: SuffixProblem, suffix: Tensor, total_B: Tensor, gradient_BND: Tensor
    ) -> tuple[Tensor, Tensor]:
        best_BNK = self.promising(problem, suffix, gradient_BND).cpu()
        tries = [
            self._swaps(row, suffix[row].tolist(), best_NK) for row, best_NK in enumerate(best_BNK)
        ]
        counts = [len(made) for made in tries]
        tried_B = torch.tensor(counts, device=suffix.device)
        rows_C = torch.arange(len(suffix), device=suffix.device).repeat_interleave(tried_B)
        if not len(rows_C):
            return suffix, tried_B
        ids_CN = torch.tensor([ids for made in tries for ids in made], device=suffix.device)
        totals_C = self._totals(problem, rows_C, ids_CN)
        suffix = suffix.clone()
        for row, (ids_cN, totals_c) in enumerate(
            zip(torch.split(ids_CN, counts), torch.split(totals_C, counts), strict=True)
        ):
            if len(totals_c) and totals_c.max() > total_B[row]:
                suffix[row] = ids_cN[totals_c.argmax()]
        return suffix, tried_B

    def take(self, rows: Tensor) -> None:
        self.around = [self.around[row] for row in rows.tolist()]
        self.generators = [self.generators[row] for row in rows.tolist()]

    def promising(self, problem: SuffixProblem, suffix: Tensor, gradient_BND: Tensor) -> Tensor:
        """For each place of a suffix the tokens that would raise the objective most, to first order,
        (B, N, K); not the one that is there."""
        allowed_V = torch.tensor(self.writing.allowed, device=suffix.device)
        # What a position adds is the same for all tokens, and leaves their order as it is.
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
        """Different single swaps in random order, as many as are wanted and survive being written."""
        order = torch.randperm(best_NK.numel(), generator=self.generators[row])
        kept: list[list[int]] = []
        for block in torch.split(order, self.candidates):
            swapped = []
            for number in block.tolist():
                place, choice = divmod(number, best_NK.shape[1])
                swapped.append([*ids[:place], int(best_NK[place, choice]), *ids[place + 1 :]])
            kept += [
                ids
                for ids, well in zip(
                    swapped, self.writing.survives(self.around[row], swapped), strict=True
                )
                if well
            ]
            if len(kept) >= self.candidates:
                break
        return kept[: self.candidates]

    def _totals(self, problem: SuffixProblem, rows_C: Tensor, ids_CN: Tensor) -> Tensor:
        """The objective of each candidate, so many at once as fit into memory."""
        size = batch_size(problem.family, problem.tokens.ids_BT.shape[1], len(rows_C))
        totals = []
        for rows, ids in zip(torch.split(rows_C, size), torch.split(ids_CN, size), strict=True):
            live = problem.take(rows)
            totals.append(live.objective(live.states_of(ids)).total_B)
        return torch.cat(totals).nan_to_num(nan=-torch.inf)
