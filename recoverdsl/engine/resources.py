"""The resources of a run: model, SAEs and data, each loaded when it is first needed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cached_property

import torch
from attrs import define, field, frozen

from recoverdsl.compiler import support
from recoverdsl.engine.defense.autoencoders import (
    Autoencoder,
    Features,
    checked_autoencoder,
    load_sae,
    load_sae_release,
)
from recoverdsl.engine.model.forward import Tokens
from recoverdsl.engine.model.judge import Judges, load_classifier
from recoverdsl.engine.model.loaded_model import LoadedModel, PromptParts, load_model
from recoverdsl.errors import UnavailableError
from recoverdsl.language import schema
from recoverdsl.language.schema import Spec
from recoverdsl.language.schema.parts import Part, part_named
from recoverdsl.language.schema.uses import used
from recoverdsl.measure.phrases import load_phrases
from recoverdsl.sources.data import Example, load_examples
from recoverdsl.sources.fetcher import Fetcher
from recoverdsl.sources.local import find_path
from recoverdsl.sources.registry import source_of


@frozen
class Text:
    """Token ids of a text in two parts."""

    before: list[int]
    """The tokens at which features are not read: the prompt, or its first token."""
    read: list[int]
    """The tokens at which features are read."""


@define(slots=False)
class Resources:
    """The model, the SAEs and the data of a spec, on one device."""

    spec: Spec
    fetcher: Fetcher
    device: torch.device
    busy: Callable[[str], AbstractContextManager[None]] = field(kw_only=True)
    """Returns a context in which something is loaded, given what it is."""
    _data: str | None = field(kw_only=True, default=None)
    """The data block whose rows are the examples; None for the audited one."""
    _others: dict[str, Resources] = field(init=False, factory=dict)
    """By data block, these resources with other examples."""

    @property
    def data(self) -> str:
        """The data block whose rows are the examples."""
        return self._data or support.examples_of(self.spec)

    def over(self, data: str) -> Resources:
        """Return the same model and SAEs with the rows of another data block as the examples."""
        if data == self.data:
            return self
        if data not in self._others:
            other = Resources(self.spec, self.fetcher, self.device, busy=self.busy, data=data)
            other.__dict__.update(
                loaded=self.loaded, model=self.model, autoencoders=self.autoencoders
            )
            self._others[data] = other
        return self._others[data]

    def for_spec(
        self, spec: Spec, busy: Callable[[str], AbstractContextManager[None]]
    ) -> Resources:
        """Return the resources of another spec, with all that is loaded here and is the same there."""
        other = Resources(spec, self.fetcher, self.device, busy=busy)
        for name, parts in _DEPENDS_ON.items():
            if name in self.__dict__ and parts(self.spec) == parts(spec):
                other.__dict__[name] = self.__dict__[name]
        return other

    @cached_property
    def model(self) -> LoadedModel:
        """The model.

        Raises:
            UnavailableError: it does not load, or lacks a layer that the spec names.
        """
        loaded = self.loaded
        for site in self._sites():
            if site.layer >= loaded.family.n_layers:
                raise UnavailableError(
                    f"{site.model}.layers[{site.layer}] does not exist: "
                    f"the model has layers 0 to {loaded.family.n_layers - 1}"
                )
        return loaded

    @cached_property
    def loaded(self) -> LoadedModel:
        """The model, whether or not it has the layers that the spec names."""
        ((name, model),) = self.spec.models.items()
        path = source_of(model).locate(self.fetcher)
        with self.busy(f"loading model {name}"):
            return load_model(path, model.dtype, self.device)

    def _sites(self) -> list[schema.Site]:
        """Return the sites at which attacks perturb, where they are named without an SAE."""
        return [
            perturbation.place
            for attack in self.spec.attacks.values()
            for perturb in (attack.perturb, *(stage.perturb for stage in attack.stages))
            for perturbation in perturb
            if isinstance(perturbation.place, schema.Site)
        ]

    @cached_property
    def examples(self) -> list[Example]:
        """The rows of the data."""
        return self.examples_of(self.data)

    @cached_property
    def prompts(self) -> list[list[int]]:
        """Token ids of each example's prompt."""
        chat = self.spec.data[self.data].chat
        longest = max(
            (b.generate.tokens for b in self.spec.behaviors.values() if b.generate), default=0
        )
        return self.model.encode_prompts(self.examples, chat, longest)

    @cached_property
    def opened_thinking(self) -> str:
        """The tag with which each prompt opens the model's thinking, or nothing."""
        return self.model.opened_thinking(self.spec.data[self.data].chat)

    def judged_text(self, ids: list[int]) -> str:
        """Return the text of generated tokens as a judge reads it."""
        return self.model.decode_with_thinking(ids, self.opened_thinking)

    @cached_property
    def prompt_parts(self) -> list[PromptParts]:
        """Each example's prompt in two parts, with room for a suffix."""
        chat = self.spec.data[self.data].chat
        return [self.model.prompt_parts(example, chat) for example in self.examples]

    def texts(self, name: str) -> list[Text]:
        """Return the texts of a data block: its answers after their prompts, or else its prompts.

        Of a prompt alone the first token is not read: it is outside most SAEs' domain.
        """
        data = self.spec.data[name]
        examples = self.examples_of(name)
        prompts = self.model.encode_prompts(examples, data.chat)
        if data.answer is None:
            return [Text(ids[:1], ids[1:]) for ids in prompts]
        return [
            Text(ids, self.model.encode_text(example.answer or ""))
            for ids, example in zip(prompts, examples, strict=True)
        ]

    def examples_of(self, name: str) -> list[Example]:
        """Return the rows of a data block."""
        data = self.spec.data[name]
        whole = self.spec.data[data.split.of] if isinstance(data.split, schema.RestOf) else None
        return load_examples(data, self.fetcher, whole)

    @cached_property
    def judges(self) -> Judges:
        """The judges of a generated text."""
        behavior = _judged(self.spec)
        phrases = find_path(self.fetcher, behavior.phrases.path) if behavior.phrases else None
        classifier = None
        if behavior.judge is not None:
            path = source_of(behavior.judge).locate(self.fetcher)
            with self.busy("loading the judge"):
                classifier = load_classifier(path, behavior.judge, self.device)
        return Judges(load_phrases(phrases), classifier)

    @cached_property
    def autoencoders(self) -> dict[str, Autoencoder]:
        """The SAEs that the spec's clamps read, by their names."""
        return {name: self._autoencoder(name) for name in _saes(self.spec)}

    def _autoencoder(self, name: str) -> Autoencoder:
        block = self.spec.saes[name]
        source = source_of(block)
        family = self.model.family
        with self.busy(f"loading SAE {name}"):
            if pretrained := source.pretrained(self.fetcher):
                sae = load_sae_release(
                    pretrained.release, pretrained.id, self.device, pretrained.fetch
                )
            else:
                sae = load_sae(source.locate(self.fetcher), self.device)
        return checked_autoencoder(
            sae, name=name, site=block.reads, n_layers=family.n_layers, d_model=family.d_model,
            mean_is_unused=family.mean_is_unused,
        )  # fmt: skip

    def features(self, sae: str, ids: list[int]) -> Features:
        """Return a view of features of one of the SAEs, by its name.

        Raises:
            UnavailableError: an id is beyond the SAE.
        """
        autoencoder = self.autoencoders[sae]
        beyond = [id for id in ids if not 0 <= id < autoencoder.d_sae]
        if beyond:
            raise UnavailableError(
                f"feature {beyond[0]} does not exist: the SAE has features 0 to {autoencoder.d_sae - 1}",
                help="correct the ids in features(…)",
            )
        return autoencoder.features(torch.tensor(ids, dtype=torch.long, device=self.device))

    def tokens(self, indices: list[int]) -> Tokens:
        """Return the prompts of some examples as one batch."""
        return Tokens.pad([self.prompts[index] for index in indices], self.device)


def _audited(spec: Spec) -> tuple[schema.Data, Part]:
    name = support.examples_of(spec)
    return spec.data[name], part_named(spec.data, name)


def _judged(spec: Spec) -> schema.Behavior:
    """Return the one behavior that is judged by its text; the first if there is none."""
    behaviors = [spec.behaviors[name] for name in used(spec)]
    return next((behavior for behavior in behaviors if behavior.generate), behaviors[0])


def _saes(spec: Spec) -> dict[str, schema.Sae]:
    """Return the SAEs that the clamps of a spec read."""
    clamped = [spec.protects[intervene.protect] for intervene in spec.intervenes.values()]
    return {name: spec.saes[name] for protect in clamped for name in protect.saes}


_DEPENDS_ON: dict[str, Callable[[Spec], object]] = {
    "loaded": lambda spec: spec.models,
    "examples": _audited,
    "prompts": lambda spec: (spec.models, _audited(spec), spec.behaviors),
    "opened_thinking": lambda spec: (spec.models, _audited(spec)),
    "prompt_parts": lambda spec: (spec.models, _audited(spec)),
    "judges": lambda spec: (_judged(spec).phrases, _judged(spec).judge),
    "autoencoders": lambda spec: (spec.models, _saes(spec)),
}
"""Attribute of `Resources` to the parts of a spec on which it depends."""
