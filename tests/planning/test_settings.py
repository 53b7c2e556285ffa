"""Settings that a preset gives: every value once, of the model and its training, by experiment."""

from __future__ import annotations

import pytest

from palimpsest.foundation.errors import ParameterError
from palimpsest.planning import settings
from palimpsest.planning.parameters import Params
from palimpsest.planning.presets import read_whole
from tests.training.presets import PROJECT


def preset() -> Params:
    track = {
        "task": {"name": "delayed_copy", "config": {"num_items": 3}},
        "training": {"learning_rate": 0.01},
        "shared": {"width": 8, "num_heads": 2, "hidden": 4},
        "grids": {
            "memnet": {"model": "memnet", "axes": {"top_k": [1, 2], "learning_rate": [0.1]}},
            "wide": {"model": "memnet", "config": {"width": 16}, "axes": {"top_k": [2, 3]}},
            "lstm": {"model": "lstm", "training": {"learning_rate": 0.5}},
        },
    }
    content = {"source": "002", "title": "t", "tracks": {"repaired": track}}
    return Params.model_validate({"preset": "default", "experiments": {"one": content}})


def test_values_are_joined_over_grids_and_axes() -> None:
    (found,) = settings.of_model(preset(), "memnet", "repaired").values()
    assert found["model"] == {"width": (8, 16), "num_heads": (2,), "top_k": (1, 2, 3)}
    assert found["training"]["learning_rate"] == (0.1, 0.01)
    assert found["task"] == {"name": ("delayed_copy",), "num_items": (3,)}


def test_a_grid_departs_from_the_training_of_its_track() -> None:
    (found,) = settings.of_model(preset(), "lstm", "repaired").values()
    assert found["model"] == {"width": (8,), "hidden": (4,)}
    assert found["training"]["learning_rate"] == (0.5,)


def test_only_experiments_with_the_model_on_the_track_are_found() -> None:
    assert settings.of_model(preset(), "memnet", "published") == {}
    assert settings.of_model(preset(), "ntm", "repaired") == {}
    with pytest.raises(ParameterError, match=r"^model: 'nothing' is no model; allowed: \w+, "):
        settings.of_model(preset(), "nothing", "repaired")


def test_the_paper_preset_has_the_authors_sizes_of_memnet() -> None:
    found = settings.of_model(read_whole(PROJECT / "params/paper.yaml"), "memnet", "published")["memnet"]["model"]
    assert (found["num_slots"], found["slot_dim"], found["top_k"], found["bottleneck"]) == (
        (128,),
        (128,),
        (16,),
        (64,),
    )
