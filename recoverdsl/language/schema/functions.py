"""The schema's functions: what is written as a call, `adam(lr = 0.1)`."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal, TypeAlias

from attrs import field, frozen

from recoverdsl.language.schema.forms import Positions
from recoverdsl.language.schema.vocabulary import Ref, function, says

# --- Sources ----------------------------------------------------------------------------------

_COMMIT = re.compile(r"[0-9a-f]{40}")
_OR_LOCK = ", or write a lock: `recoverdsl lock`"


@frozen
class Unpinned:
    """Why a source may change while the spec stays the same."""

    message: str
    help: str


@frozen
class SourceCall:
    """A call that says where a model, an SAE, data or phrase lists come from."""

    needs_sha256: ClassVar[bool] = False
    """Whether a block must name the sha256 of its weight file."""

    def unpinned(self, sha256: str | None) -> Unpinned | None:
        """Say why the source may change; None if it cannot, or is a local file that a run hashes.

        Args:
            sha256: the digest that the block names, if it names one.
        """
        return None


@function("pypi")
@frozen
class PyPI(SourceCall):
    """A file inside a wheel of the Python package index. The wheel's code is never run."""

    needs_sha256 = True

    requirement: str = field(metadata=says("The exact release, `name==version`."))
    file: str = field(metadata=says("Path of the file inside the wheel."))


@function("huggingface")
@frozen
class HuggingFace(SourceCall):
    """A repository of the Hugging Face hub, at one revision."""

    repository: str = field(metadata=says("`owner/name`."))
    revision: str | None = field(default=None, metadata=says("Commit hash, tag or branch."))
    file: str | None = field(default=None, metadata=says("One file or folder of it."))
    split: str | None = field(default=None, metadata=says("Split, for a data set."))

    def unpinned(self, sha256: str | None) -> Unpinned | None:
        if _COMMIT.fullmatch(self.revision or ""):
            return None
        return Unpinned(
            "this repository is not pinned to a commit",
            f'add `revision = "…"` with the 40 digits of a commit{_OR_LOCK}',
        )


@function("folder")
@frozen
class Folder(SourceCall):
    """A local folder, relative to the spec."""

    path: str = field(metadata=says("Path, relative to the spec's own folder."))


@function("release")
@frozen
class Release(SourceCall):
    """A pretrained SAE that sae_lens knows by release and id."""

    release: str = field(metadata=says("Name of the release, `gpt2-small-res-jb`."))
    id: str = field(metadata=says("The SAE in it, `blocks.8.hook_resid_pre`."))

    def unpinned(self, sha256: str | None) -> Unpinned | None:
        if sha256 is not None:
            return None
        return Unpinned(
            "the weights of this release are not pinned",
            f'add `sha256 = "…"`, the digest of its weight file{_OR_LOCK}',
        )


@function("template")
@frozen
class Template(SourceCall):
    """Prompts drawn from a template that ships with the tool."""

    name: Literal["ioi"] | str = field(metadata=says("Name of the template."))
    prompts: int = field(metadata=says("How many prompts.", at_least=1))
    seed: int = field(default=0, metadata=says("Seed of the draw."))


@function("file")
@frozen
class File(SourceCall):
    """A file beside the spec: a table as JSON lines, CSV or Parquet, or phrase lists as TOML."""

    path: str = field(metadata=says("Path, relative to the spec's own folder."))


@function("rest_of")
@frozen
class RestOf:
    """The rows that the split of another data block leaves over: the two share none."""

    of: Annotated[str, Ref("data")] = field(
        metadata=says("A data block with a `split`, of the same source and the same `rows`.")
    )


ModelSource = PyPI | HuggingFace | Folder
SaeSource = Folder | Release | HuggingFace
DataSource = Template | File | HuggingFace
ClassifierSource = Folder | HuggingFace

# --- Everything else --------------------------------------------------------------------------


@function("greedy")
@frozen
class Greedy:
    """The most likely token each time."""

    tokens: int = field(metadata=says("How many tokens at most.", unit="tokens", at_least=1))


@function("classifier")
@frozen
class Classifier:
    """A text classifier; its figure `judge` is the probability of one label, from 0 to 1."""

    source: ClassifierSource = field(metadata=says("Where the classifier comes from.", key="from"))
    label: str = field(metadata=says("Which label's probability is the figure."))
    with_prompt: bool = field(
        default=True,
        metadata=says("Show the classifier the request too, as the first of a pair.", key="prompt"),
    )


@function("attribution")
@frozen
class Attribution:
    """Activation × gradient of a behavior's score: summed over positions, averaged over examples."""

    behavior: Annotated[str, Ref("behavior")] = field(metadata=says("Whose score."))
    at: Positions = field(
        default=Positions(("every_token",), ("first",)),
        metadata=says(
            "The positions that are summed; the first token is outside most SAEs' domain."
        ),
    )
    over: Annotated[str, Ref("data")] | None = field(
        default=None,
        metadata=says(
            "The prompts over which it is averaged; if not given, those that the audit tests, which flatters the defense.",
            later=True,
        ),
    )


@function("contrast")
@frozen
class Contrast:
    """Mean activation on one set of texts minus the mean on another."""

    texts: Annotated[str, Ref("data")] | str = field(
        metadata=says("A data block, or the path of a file.")
    )
    against: Annotated[str, Ref("behavior", "data")] = field(metadata=says("The other set."))


@function("top")
@frozen
class Top:
    """The highest-ranked features."""

    count: int = field(metadata=says("How many.", at_least=1, unit="features"))
    by: Attribution | Contrast | None = field(
        default=None, metadata=says("The effect that ranks them.")
    )
    each: bool = field(
        default=False,
        metadata=says("From each SAE, instead of over all of them together.", later=True),
    )


@function("features")
@frozen
class Features:
    """Features by their ids, as the SAE numbers them when loaded, from 0."""

    ids: tuple[int, ...] = field(metadata=says("Feature ids.", at_least=0))
    of: Annotated[str, Ref("sae")] | None = field(
        default=None,
        metadata=says("The SAE that numbers them; needed when there are several.", later=True),
    )


@function("adam")
@frozen
class Adam:
    """Adam (Kingma & Ba 2015) with its usual moments, on δ; the constraints are applied after it."""

    lr: float = field(
        default=0.1, metadata=says("Step size, in units of the residual stream.", above=0)
    )


@function("gradient")
@frozen
class Gradient:
    """Steps of one length along the gradient: the steepest ascent for a limit on the norm."""

    lr: float = field(metadata=says("Length of a step, in units of the residual stream.", above=0))


@function("apgd", example="with = apgd()")
@frozen
class Apgd:
    """Auto-PGD (Croce & Hein 2020): momentum ascent whose step starts at twice the limit and is halved where it does not help; no step size to choose."""


Optimizer: TypeAlias = Adam | Gradient | Apgd
"""How δ is moved to raise the objective."""


@function("gcg")
@frozen
class Gcg:
    """Greedy coordinate gradient (Zou et al. 2023): a suffix of real tokens, swapped one by one."""

    tokens: int = field(metadata=says("Length of the suffix.", at_least=1, unit="tokens"))
    candidates: int = field(
        default=32, metadata=says("Swaps that are tried in a step.", at_least=1)
    )
    top: int = field(
        default=64, metadata=says("Tokens that are considered for each position.", at_least=1)
    )


@function("orthogonal")
@frozen
class Orthogonal:
    """δ has no component along the encoder columns of the protected features (C1)."""

    protect: Annotated[str, Ref("protect")] = field(metadata=says("Which features."))


@function("jacobian")
@frozen
class Jacobian:
    """δ stays in the null space of the protected features' Jacobian over layers and positions."""

    protect: Annotated[str, Ref("protect")] = field(metadata=says("Which features."))


@function("jacobian_sketch")
@frozen
class JacobianSketch:
    """The same, with random probes in place of the row space, as published; for comparison."""

    protect: Annotated[str, Ref("protect")] = field(metadata=says("Which features."))
    probes: int = field(default=9, metadata=says("How many random probes.", at_least=1))


@function("by_construction")
@frozen
class ByConstruction:
    """After δ the state is moved back, by the least change, to the protected features' values."""

    protect: Annotated[str, Ref("protect")] = field(metadata=says("Which features."))


Preserve: TypeAlias = Orthogonal | Jacobian | JacobianSketch | ByConstruction
"""How an attack keeps the protected features in place."""


@function("smallest_norm")
@frozen
class SmallestNorm:
    """Per example, the least norm that recovers: by bisection below the largest limit, then by FMN (Pintor et al. 2021)."""

    within: float = field(
        default=0.05,
        metadata=says(
            "Relative width at which the bisection stops.", unit="fraction", above=0, at_most=0.5
        ),
    )
    starts: int = field(
        default=3,
        metadata=says(
            "Random starts for each example, beside the δ that the attack found.",
            at_least=0,
            later=True,
        ),
    )


@function("wilson")
@frozen
class Wilson:
    """Wilson's score interval of a rate."""

    confidence: float = field(
        default=0.95, metadata=says("Confidence level.", unit="fraction", above=0, at_most=0.999)
    )


@function("bootstrap")
@frozen
class Bootstrap:
    """Percentile bootstrap of a mean over valid flips."""

    confidence: float = field(
        default=0.95, metadata=says("Confidence level.", unit="fraction", above=0, at_most=0.999)
    )
    resamples: int = field(default=2000, metadata=says("How many resamples.", at_least=100))
    seed: int = field(default=0, metadata=says("Seed of the resampling."))


Interval = Wilson | Bootstrap
