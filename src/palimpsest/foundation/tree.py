"""One walk over nested values: tensors in named tuples, tuples, dictionaries and storable parts, however deep.

States of memories, of optimisers and of training methods are such trees. Training cuts and detaches them, faces copy
them to devices, checkpoints write and read them; all of that is a function of this module.

A tree without children is a *leaf*: a tensor, a number, a word. ``None`` stands for a part that is absent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from palimpsest.foundation.errors import ParameterError


@runtime_checkable
class Storable(Protocol):
    """A part of a tree that is no container but is made of tensors, all without gradients."""

    def to_tensors(self) -> dict[str, Tensor]:
        """Return copies of all tensors that the part is made of."""
        ...

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> Any:
        """Make an equal part from what :meth:`to_tensors` returned."""
        ...


def is_named_tuple(part: Any) -> bool:
    """Return whether a value is an instance of a named tuple."""
    return isinstance(part, tuple) and hasattr(part, "_fields")


def map_tensors(change: Callable[[Tensor], Tensor], tree: Any) -> Any:
    """Return the same tree with every tensor changed; all other leaves stay as they are.

    Args:
        change: applied to every tensor, also to those of :class:`Storable` parts.
        tree: any nesting.
    """
    if isinstance(tree, Tensor):
        return change(tree)
    children = _children(tree)
    if children is not None:
        return _with_children(tree, [map_tensors(change, part) for part in children.values()])
    if isinstance(tree, Storable):
        return type(tree).from_tensors({name: change(part) for name, part in tree.to_tensors().items()})
    return tree


def leaves(tree: Any, name: str) -> dict[str, Any]:
    """Return every leaf by its path, e.g. ``state.controller.hidden``; absent parts are left out.

    Args:
        tree: any nesting; storable parts give their tensors.
        name: the first part of every path.
    """
    if tree is None:
        return {}
    children = _children(tree)
    if children is None and isinstance(tree, Storable):
        children = tree.to_tensors()
    if children is None:
        return {name: tree}
    return {path: leaf for key, part in children.items() for path, leaf in leaves(part, f"{name}.{key}").items()}


def with_leaves(pattern: Any, found: Mapping[str, Any], name: str) -> Any:
    """Return a tree of the pattern's types with other leaves; undoes :func:`leaves`.

    Args:
        pattern: a tree of the same structure; a part that is absent in it may be a single leaf in the result.
        found: leaves by path, as :func:`leaves` returns them.
        name: the first part of every path.

    Raises:
        KeyError: a leaf is missing.
    """
    if pattern is None:
        return found.get(name)
    children = _children(pattern)
    if children is not None:
        return _with_children(pattern, [with_leaves(part, found, f"{name}.{key}") for key, part in children.items()])
    if isinstance(pattern, Storable):
        return type(pattern).from_tensors({key: found[f"{name}.{key}"] for key in pattern.to_tensors()})
    return found[name]


NUMBERS = (bool, int, float)
"""Types of plain numbers in a tree; a file has each as a tensor without axes."""


def stored(tree: Any, name: str) -> dict[str, Tensor]:
    """Return every leaf by its path as a tensor that a file can hold: :func:`restored` undoes it.

    Tensors are copied without their gradients, since two parts may share memory, which safetensors refuses to write.

    Raises:
        ParameterError: a leaf is neither a tensor nor a number.
    """
    return {path: _as_tensor(path, leaf) for path, leaf in leaves(tree, name).items()}


def _as_tensor(path: str, leaf: Any) -> Tensor:
    if isinstance(leaf, Tensor):
        return leaf.detach().clone(memory_format=torch.contiguous_format)
    if isinstance(leaf, NUMBERS):
        return torch.tensor(leaf, dtype=torch.float64 if isinstance(leaf, float) else None)
    raise ParameterError(f"{path}: {type(leaf).__name__} cannot be stored; allowed: tensors, numbers, named tuples")


def restored(pattern: Any, tensors: Mapping[str, Tensor], name: str) -> Any:
    """Return a tree of the pattern's types from what :func:`stored` returned, on the devices of the pattern's tensors.

    Args:
        pattern: a tree of the same structure; its tensors may have other sizes.
        tensors: by path.
        name: the first part of every path.

    Raises:
        KeyError: a leaf is missing.
    """
    found = {path: _like(leaf, tensors[path]) for path, leaf in leaves(pattern, name).items()}
    return with_leaves(pattern, found, name)


def _like(leaf: Any, tensor: Tensor) -> Any:
    return tensor.to(leaf.device) if isinstance(leaf, Tensor) else type(leaf)(tensor.item())


def detached(tree: Any) -> Any:
    """Return the same tree without gradients; :class:`Storable` parts have none and are not copied."""
    if isinstance(tree, Tensor):
        return tree.detach()
    children = _children(tree)
    return tree if children is None else _with_children(tree, [detached(part) for part in children.values()])


def first_examples(tree: Any, size: int) -> Any:
    """Return a state cut to its first examples.

    Args:
        tree: every tensor (R, B, …), with the same B.
        size: how many examples to keep; B or more keeps all of them.
    """
    return map_tensors(lambda tensor: tensor[:, :size], tree)


def num_examples(tree: Any) -> int | None:
    """Return the size B of a state whose tensors are (R, B, …); ``None``: there is no tensor in it."""
    return next((leaf.shape[1] for leaf in leaves(tree, "state").values() if isinstance(leaf, Tensor)), None)


def on_device(tree: Any, device: torch.device | str) -> Any:
    """Return the same tree with every tensor on a device."""
    return map_tensors(lambda tensor: tensor.to(device), tree)


def _children(tree: Any) -> dict[str, Any] | None:
    """The parts of a container by name; ``None`` of anything else."""
    if is_named_tuple(tree):
        return tree._asdict()
    if isinstance(tree, tuple):
        return {str(place): part for place, part in enumerate(tree)}
    return {str(key): part for key, part in tree.items()} if isinstance(tree, dict) else None


def _with_children(tree: Any, parts: list[Any]) -> Any:
    """A container of the same type and names with other parts."""
    if isinstance(tree, dict):
        return dict(zip(tree, parts, strict=True))
    return type(tree)(*parts) if is_named_tuple(tree) else tuple(parts)
