"""Sparse autoencoders, loaded by sae_lens and checked against the model, and features of them."""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from attrs import frozen
from torch import Tensor

from recoverdsl.errors import RecoverdslError, UnavailableError
from recoverdsl.language.schema import Site

INVARIANCE: dict[str, str] = {
    "standard": "linear",
    "jumprelu": "linear",
    "gated": "linear",
    "transcoder": "linear",
    "jumprelu_transcoder": "linear",
    "skip_transcoder": "linear",
    "jumprelu_skip_transcoder": "linear",
    "topk": "competing",
    "batchtopk": "competing",
    "matching_pursuit": "nonlinear",
    "temporal": "nonlinear",
}
"""Architecture, as sae_lens names it, to the effect of a δ with A_Sᵀδ = 0 on the features S.

`linear`: each feature reads δ through its own encoder column alone, so S stays exactly constant.
`competing`: other features compete for the same places, so S can change although A_Sᵀδ = 0.
`nonlinear`: the encoder is not a function of A_Sᵀh, so orthogonality implies nothing.
"""


@frozen(eq=False)
class Autoencoder:
    """A frozen float32 SAE as sae_lens loaded it, with the boundary of the residual stream that it
    reads.

    Feature ids and activations are those of the loaded SAE: decoder norms are as stored, not folded.
    """

    sae: Any
    boundary: int

    @property
    def d_sae(self) -> int:
        return int(self.sae.cfg.d_sae)

    @property
    def invariance(self) -> str:
        """`linear`, `competing` or `nonlinear`; see `INVARIANCE`."""
        return INVARIANCE.get(self.sae.cfg.architecture(), "nonlinear")

    @property
    def W_dec_FD(self) -> Tensor:
        """The vector that one unit of each feature adds to the reconstruction, (d_sae, d_model)."""
        rows_FD: Tensor = self.sae.W_dec
        if getattr(self.sae.cfg, "rescale_acts_by_decoder_norm", False):
            rows_FD = rows_FD / rows_FD.norm(dim=-1, keepdim=True)
        return rows_FD

    def encode(self, h_D: Tensor) -> Tensor:
        """Return the feature activations (…, d_sae) of residual states (…, d_model)."""
        z_F: Tensor = self.sae.encode(h_D.float())
        return z_F

    def decode(self, z_F: Tensor) -> Tensor:
        """Return the reconstruction (…, d_model) of feature activations (…, d_sae)."""
        h_D: Tensor = self.sae.decode(z_F)
        return h_D

    def features(self, ids_S: Tensor) -> Features:
        """Return a view of the features `ids_S`."""
        alone = _narrow(self.sae, ids_S) if self.invariance == "linear" else None
        return Features(
            autoencoder=self,
            ids_S=ids_S,
            alone=alone,
            W_enc_DS=self.sae.W_enc[:, ids_S],
            W_dec_SD=self.W_dec_FD[ids_S],
            bound_S=self._bound_F()[ids_S],
        )

    def _bound_F(self) -> Tensor:
        """Return the value of A_Fᵀh at which each feature becomes active, (d_sae,); NaN if there is
        none."""
        sae, kind = self.sae, self.sae.cfg.architecture()
        shift_F = sae.b_dec @ sae.W_enc if sae.cfg.apply_b_dec_to_input else 0.0
        bound_F: Tensor = torch.full((self.d_sae,), torch.nan, device=sae.W_dec.device)
        if kind == "standard":
            bound_F = shift_F - sae.b_enc
        if kind == "jumprelu":
            bound_F = shift_F + sae.threshold.clamp(min=0) - sae.b_enc
        if kind == "gated":
            bound_F = shift_F - sae.b_gate
        return bound_F


@frozen(eq=False)
class Features:
    """Selected features S of one SAE: encoder columns A_S (d_model, S) and decoder rows (S, d_model)."""

    autoencoder: Autoencoder
    ids_S: Tensor
    alone: Any
    """An SAE of these features alone; None where it would encode differently from the whole one."""
    W_enc_DS: Tensor
    W_dec_SD: Tensor
    bound_S: Tensor
    """The value of A_Sᵀh at which each feature becomes active; NaN where other features decide too."""

    def encode(self, h_D: Tensor) -> Tensor:
        """Return the activations (…, S) of residual states (…, d_model).

        Only the columns of these features are computed where that is exact.
        """
        if self.alone is not None:
            z_S: Tensor = self.alone.encode(h_D.float())
            return z_S
        return self.autoencoder.encode(h_D)[..., self.ids_S]


def _narrow(sae: Any, ids_S: Tensor) -> Any:
    """Return an SAE of the same class that has only the features `ids_S`."""
    cfg = copy.deepcopy(sae.cfg)
    cfg.d_sae = len(ids_S)
    narrow = type(sae)(cfg)
    state = {}
    for name, value in sae.state_dict().items():
        if name == "W_enc":
            value = value[:, ids_S]
        elif name not in ("b_dec", "W_skip", "b_dec_out"):
            value = value[ids_S]
        state[name] = value
    narrow.load_state_dict(state)
    return narrow.to(sae.W_dec.device).requires_grad_(False).eval()


def boundary_of(site: Site) -> int:
    """Return the boundary of the residual stream that a site names."""
    return site.layer + (site.side == "output")


def checked_autoencoder(
    sae: Any, *, name: str, site: Site, n_layers: int, d_model: int, mean_is_unused: bool = False
) -> Autoencoder:
    """Return a loaded sae_lens SAE, checked against the model and the site that the spec lets it read.

    Args:
        mean_is_unused: whether nothing in the model reads the mean of the residual stream.

    Raises:
        UnavailableError: its width, hook point, architecture or normalization does not fit, or a
            weight is not finite.
    """
    cfg = sae.cfg
    where = f"sae {name}"
    if cfg.d_in != d_model:
        raise UnavailableError(
            f"the SAE reads vectors of width {cfg.d_in}, the model's residual stream has {d_model}",
            where=where, help="take an SAE that was trained on this model",
        )  # fmt: skip
    if not 0 <= site.layer < n_layers:
        raise UnavailableError(
            f"{site.model}.layers[{site.layer}] does not exist: the model has layers 0 to {n_layers - 1}",
            where=where,
        )
    hook = cfg.metadata.hook_name
    expected = _boundary_of_hook(hook)
    if expected is not None and expected != boundary_of(site):
        layer, side = (expected, "input") if str(hook).endswith("pre") else (expected - 1, "output")
        raise UnavailableError(
            f"the SAE was trained at {hook}, which is {site.model}.layers[{layer}].{side}, "
            f"and the spec lets it read {site.model}.layers[{site.layer}].{site.side}",
            where=where, help=f"write `reads = {site.model}.layers[{layer}].{side}`",
        )  # fmt: skip
    if "transcoder" in cfg.architecture():
        raise UnavailableError(
            "this is a transcoder: it reads one place and writes another", where=where,
            why="a clamp in it is not an edit of the residual stream that it reads",
        )  # fmt: skip
    if hook is not None and expected is None:
        raise UnavailableError(
            f"the SAE was trained at {hook}, which is not the residual stream",
            where=where, why="only residual-stream SAEs can be clamped as a residual edit",
        )  # fmt: skip
    if cfg.normalize_activations != "none":
        raise UnavailableError(
            f"the SAE normalizes its input ({cfg.normalize_activations}), which is not supported yet",
            where=where, why="a clamp in such an SAE is not an edit of the residual stream by W_dec",
        )  # fmt: skip
    if cfg.reshape_activations != "none":
        raise UnavailableError(
            "the SAE reshapes attention heads, which is not supported", where=where
        )
    loading = cfg.metadata.model_from_pretrained_kwargs or {}
    centered = bool(loading.get("center_writing_weights"))
    if centered and not (mean_is_unused and cfg.architecture() in _ONE_MATRIX):
        raise UnavailableError(
            "the SAE was trained on a model with centered writing weights, which is not supported here",
            where=where, why="the residual stream of this model does not match it",
        )  # fmt: skip
    if not all(torch.isfinite(value).all() for value in sae.state_dict().values()):
        raise UnavailableError("the SAE's weights hold values that are not finite", where=where)
    sae = sae.to(dtype=torch.float32).requires_grad_(False).eval()
    if centered:
        sae = _without_centering(sae)
    return Autoencoder(sae, boundary_of(site))


_ONE_MATRIX = ("standard", "jumprelu", "topk", "batchtopk")
"""Architectures whose encoder is one matrix and one bias."""


@torch.no_grad()
def _without_centering(sae: Any) -> Any:
    """Return an SAE of the centered residual stream as one that reads the stream with its mean.

    TransformerLens takes the mean out of all that is written to the stream, which changes nothing
    in a model that reads it through LayerNorm alone. Such an SAE encodes C h with C = I − 11ᵀ/d; here
    C goes into its encoder: (C h − b_dec)·W = (h − b_dec)·C W − (b_dec − C b_dec)·W.
    """
    uncentered = copy.deepcopy(sae)
    if uncentered.cfg.apply_b_dec_to_input:
        uncentered.b_enc -= uncentered.b_dec.mean() * uncentered.W_enc.sum(dim=0)
    uncentered.W_enc -= uncentered.W_enc.mean(dim=0)
    return uncentered


@contextmanager
def _without_advice() -> Iterator[None]:
    """Silence sae_lens's advice to load the model with the SAE's own options: `checked_autoencoder`
    handles them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"\s*This SAE has non-empty")
        yield


def load_sae(path: Path, device: torch.device) -> Any:
    """Load an SAE folder in sae_lens format (`cfg.json`, `sae_weights.safetensors`) as float32.

    Raises:
        UnavailableError: it does not load.
    """
    from sae_lens import SAE

    try:
        with _without_advice():
            return SAE.load_from_disk(path, device=str(device), dtype="float32")
    except Exception as error:
        raise UnavailableError(
            "this folder does not load as an SAE", where=str(path), why=f"{type(error).__name__}: {error}",
            help="it should hold cfg.json and sae_weights.safetensors, as sae_lens writes them",
        ) from error  # fmt: skip


def load_sae_release(
    release: str, id: str, device: torch.device, fetch: Callable[[str], Path]
) -> Any:
    """Load a pretrained SAE that sae_lens knows by release and id, as float32.

    Args:
        fetch: returns a file of the SAE's repository by its name. sae_lens itself would take the
            newest revision of the repository.

    Raises:
        UnavailableError: it does not load, or is fetched by other means than `fetch`.
    """
    from sae_lens import SAE
    from sae_lens.loading import pretrained_sae_loaders as loaders

    fetched = []

    def download(
        repo_id: str, filename: str, *, subfolder: str | None = None, **options: object
    ) -> str:
        fetched.append(filename)
        return str(fetch(f"{subfolder}/{filename}" if subfolder else filename))

    own = loaders.hf_hub_download
    loaders.hf_hub_download = download
    try:
        with _without_advice():
            sae = SAE.from_pretrained(release, id, device=str(device), dtype="float32")
    except RecoverdslError:
        raise
    except Exception as error:
        raise UnavailableError(
            f"the SAE {id!r} of release {release!r} cannot be loaded",
            why=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
            help="check both names in sae_lens's table of pretrained SAEs, and the network",
        ) from error
    finally:
        loaders.hf_hub_download = own
    if not fetched:
        raise UnavailableError(
            f"the SAE {id!r} of release {release!r} was fetched in a way that cannot be checked",
            why="this version of sae_lens fetches from the hub by other means",
            help="install the version of sae_lens that recoverdsl was tested with",
        )
    return sae


def _boundary_of_hook(hook: str | None) -> int | None:
    """Return the boundary of the residual stream that a hook name means, or None.

    Understood are the names of TransformerLens and, for a layer's output, those of Hugging Face
    (`model.layers.14`, `transformer.h.14`).
    """
    lens = re.fullmatch(r"blocks\.(\d+)\.hook_resid_(pre|post)", str(hook))
    if lens:
        return int(lens[1]) + (lens[2] == "post")
    plain = re.fullmatch(r"(?:model\.layers|transformer\.h)\.(\d+)", str(hook))
    return int(plain[1]) + 1 if plain else None
