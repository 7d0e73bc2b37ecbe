"""Records that hold tensors: taken apart into JSON and named tensors, put together again, and joined.

A record is an attrs class whose fields are tensors with the batch as their first dimension, tuples of
rows, further records, mappings of these, or plain values that are the same in every batch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, TypeAlias, TypeVar

import attrs
import torch
from cattrs import Converter
from torch import Tensor

Record: TypeAlias = attrs.AttrsInstance
"""The class of every record."""

R = TypeVar("R")

_TENSOR = "tensor"
"""The one key of the object that replaces a tensor in JSON; its value names the tensor."""


def pack(record: Any) -> tuple[str, dict[str, Tensor]]:
    """Return a record as JSON, and its tensors by the path of their fields."""
    tensors: dict[str, Tensor] = {}

    def plain(value: Any, path: str) -> Any:
        if isinstance(value, Tensor):
            tensors[path] = value.detach().cpu().contiguous()
            return {_TENSOR: path}
        if attrs.has(type(value)):
            names = (field.name for field in attrs.fields(type(value)))
            return {name: plain(getattr(value, name), _below(path, name)) for name in names}
        if isinstance(value, Mapping):
            return {str(key): plain(item, _below(path, key)) for key, item in value.items()}
        if isinstance(value, tuple):
            return [plain(item, _below(path, at)) for at, item in enumerate(value)]
        return value

    return json.dumps(plain(record, ""), allow_nan=True), tensors


def unpack(kind: type[R], text: str, tensors: Mapping[str, Tensor]) -> R:
    """Return the record that `pack` took apart.

    Raises:
        ValueError, KeyError, TypeError, cattrs.BaseValidationError: it is not a record of this kind.
    """

    def with_tensors(value: dict[str, Any]) -> Any:
        return tensors[value[_TENSOR]] if value.keys() == {_TENSOR} else value

    record: R = _converter.structure(json.loads(text, object_hook=with_tensors), kind)
    return record


def joined(records: Sequence[R]) -> R:
    """Return the records of several batches as one."""
    together: R = _combine(records, _concatenated)
    return together


def rows_of(record: R, rows: slice) -> R:
    """Return some examples of a record."""
    some: R = _combine([record], lambda tensors: tensors[0][rows], lambda tuples: tuples[0][rows])
    return some


def on_device(record: R, device: torch.device) -> R:
    """Return a record with its tensors on a device."""
    moved: R = _combine([record], lambda tensors: tensors[0].to(device))
    return moved


def _chained(tuples: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
    """Return the rows of all tuples as one."""
    return tuple(chain.from_iterable(tuples))


def _combine(
    values: Sequence[Any],
    tensor: Callable[[Sequence[Tensor]], Tensor],
    rows: Callable[[Sequence[tuple[Any, ...]]], tuple[Any, ...]] = _chained,
) -> Any:
    """Combine records of one kind field by field."""
    first = values[0]
    if isinstance(first, Tensor):
        return tensor(values)
    if attrs.has(type(first)):
        fields = (field.name for field in attrs.fields(type(first)))
        return type(first)(
            **{name: _combine([getattr(v, name) for v in values], tensor, rows) for name in fields}
        )
    if isinstance(first, Mapping):
        return {key: _combine([value[key] for value in values], tensor, rows) for key in first}
    return rows(values) if isinstance(first, tuple) else first


def _concatenated(tensors: Sequence[Tensor]) -> Tensor:
    """Return batches one after the other; δ (B, L, P, D) of shorter prompts gets zeros on the left."""
    if tensors[0].dim() == 4:
        width = max(tensor.shape[2] for tensor in tensors)
        tensors = [torch.nn.functional.pad(t, (0, 0, width - t.shape[2], 0)) for t in tensors]
    return torch.cat(list(tensors))


def _below(path: str, name: object) -> str:
    return f"{path}.{name}" if path else str(name)


def _exactly(*kinds: type) -> Callable[[Any, Any], Any]:
    """Return a hook that accepts a value of these types alone, where cattrs would convert any."""

    def check(value: Any, kind: Any) -> Any:
        # A flag is a number to Python.
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise TypeError(f"expected {kind.__name__}, found {type(value).__name__}")
        return value

    return check


def _number(value: Any, kind: Any) -> int:
    """Return a whole number, or the one that a key of a JSON object spells."""
    return int(value) if isinstance(value, str) else _exactly(int)(value, kind)


_converter = Converter(forbid_extra_keys=True)
for _kind, _hook in {
    Tensor: _exactly(Tensor), str: _exactly(str), bool: _exactly(bool), float: _exactly(float, int), int: _number,
}.items():  # fmt: skip
    _converter.register_structure_hook(_kind, _hook)
