"""What steps compute with: model, SAE, data, each loaded when it is first needed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cached_property

import torch
from attrs import define, field

from recoverdsl.engine import models, saes
from recoverdsl.engine.data import Example, load_examples
from recoverdsl.engine.forward import Tokens
from recoverdsl.engine.pins import locate
from recoverdsl.engine.sources import Fetcher
from recoverdsl.errors import UnavailableError
from recoverdsl.language import schema
from recoverdsl.language.schema import Spec


@define(slots=False)
class Resources:
    """The model, SAE and examples of a spec, on one device."""

    spec: Spec
    fetcher: Fetcher
    device: torch.device
    busy: Callable[[str], AbstractContextManager[None]] = field(kw_only=True)
    """Shows what is being waited for."""

    @cached_property
    def model(self) -> models.LoadedModel:
        ((name, model),) = self.spec.models.items()
        path = locate(model, self.fetcher)
        with self.busy(f"loading model {name}"):
            return models.load(path, model.dtype, self.device)

    @cached_property
    def examples(self) -> list[Example]:
        ((_, data),) = self.spec.data.items()
        return load_examples(data, self.fetcher)

    @cached_property
    def prompts(self) -> list[list[int]]:
        """Token ids of each example's prompt."""
        ((_, data),) = self.spec.data.items()
        return self.model.encode_prompts(self.examples, data.chat)

    @cached_property
    def autoencoder(self) -> saes.Autoencoder:
        """The SAE that the spec clamps."""
        (intervene,) = self.spec.intervenes.values()
        (name,) = self.spec.protects[intervene.protect].saes
        block = self.spec.saes[name]
        family = self.model.family
        with self.busy(f"loading SAE {name}"):
            if isinstance(block.source, schema.Release):
                if self.fetcher.offline:
                    raise UnavailableError(
                        "a release of sae_lens cannot be had without the network",
                        where=f"sae {name}", help="run without `--offline`, or name its folder",
                    )  # fmt: skip
                sae = saes.load_release(block.source.release, block.source.id, self.device)
            else:
                sae = saes.load(locate(block, self.fetcher), self.device)
        return saes.adopt(
            sae, name=name, site=block.reads, n_layers=family.n_layers, d_model=family.d_model
        )

    def features(self, ids: list[int]) -> saes.Features:
        """A view on features of the SAE.

        Raises:
            UnavailableError: an id is beyond the SAE.
        """
        beyond = [id for id in ids if not 0 <= id < self.autoencoder.d_sae]
        if beyond:
            raise UnavailableError(
                f"feature {beyond[0]} does not exist: the SAE has features 0 to {self.autoencoder.d_sae - 1}",
                help="correct the ids in features(…)",
            )
        return self.autoencoder.features(torch.tensor(ids, device=self.device))

    def tokens(self, indices: list[int]) -> Tokens:
        """The prompts of some examples as one batch."""
        return Tokens.pad([self.prompts[index] for index in indices], self.device)
