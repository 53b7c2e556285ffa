"""What Snakemake reads at every start: the same as resolving anew, kept for this preset and this code alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from palimpsest.foundation.errors import DataError
from palimpsest.planning import footprint, plan, provenance, schedule, specs
from palimpsest.planning.presets import read_params
from palimpsest.planning.provenance import code_of
from tests.training import presets


def test_a_kept_schedule_is_the_resolved_one(tmp_path: Path) -> None:
    params = presets.read(tmp_path)
    first = schedule.read(params, "file", tmp_path / "kept")
    assert list((tmp_path / "kept").iterdir())
    assert schedule.read(params, "file", tmp_path / "kept") == first
    assert set(first.kinds) == set(specs.check(params))
    assert first.data.keys() == {"data/tiny/track=repaired"}
    assert first.kinds["results/tiny/track=repaired/model=no_memory"].code == code_of(
        "no_memory", "delayed_qa", "palimpsest.training.methods.plain"
    )


def test_a_start_that_changes_nothing_imports_no_torch(tmp_path: Path) -> None:
    file = presets.write(tmp_path)
    code = (
        "import sys; from pathlib import Path; from palimpsest.planning import schedule; "
        "from palimpsest.planning.presets import read_params; "
        "p = read_params(Path(sys.argv[1])); s = schedule.read(p, 'file', Path(sys.argv[2])); "
        "print(len(s.packs(p, lambda run: False)), 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(file), str(tmp_path / "kept")]
    printed = [subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() for _ in range(2)]
    assert [torch for _, torch in printed] == ["True", "False"]
    assert printed[0][0] == printed[1][0]


def test_another_preset_or_other_code_is_resolved_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "kept"
    names = []
    for preset in (presets.read(tmp_path), presets.read(tmp_path, training={"num_epochs": 4})):
        schedule.read(preset, "file", kept)
        names += [path.name for path in kept.glob("schedule-*")]
    monkeypatch.setattr(schedule, "source_digest", lambda: "other")
    schedule.read(presets.read(tmp_path), "file", kept)
    names += [path.name for path in kept.glob("schedule-*")]
    assert len(set(names)) == len(names) == 3  # one at a time is kept


def test_memory_is_counted_again_for_what_changed_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[str] = []

    def bytes_per_run(spec: specs.RunSpec) -> int:
        counted.append(spec.model)
        return 2**20

    monkeypatch.setattr(footprint, "bytes_per_run", bytes_per_run)
    schedule.read(presets.read(tmp_path), "file", tmp_path / "kept")
    assert sorted(counted) == sorted(set(counted)) != []
    everything = counted.copy()
    counted.clear()
    schedule.read(
        presets.read(tmp_path, grids={"sweep": {"axes": {"mem_lambda": [0, 0.3]}}}), "file", tmp_path / "kept"
    )
    assert not counted
    monkeypatch.setattr(
        provenance, "code_of", lambda model, *names: "other" if model == "no_memory" else code_of(model, *names)
    )
    monkeypatch.setattr(schedule, "source_digest", lambda: "other")
    schedule.read(presets.read(tmp_path), "file", tmp_path / "kept")
    assert counted == ["no_memory"]
    counted.clear()
    monkeypatch.setattr(provenance, "fingerprint", lambda *modules, **options: "counted in another way")
    monkeypatch.setattr(schedule, "source_digest", lambda: "another")
    schedule.read(presets.read(tmp_path), "file", tmp_path / "kept")
    assert counted == everything


def test_what_is_compared_about_a_run_does_not_depend_on_its_company(tmp_path: Path) -> None:
    params = presets.read(tmp_path)
    kinds = schedule.read(params, "file", tmp_path / "kept").kinds
    sweep = [kind.values for base, kind in kinds.items() if "nema_lite" in base]
    assert len(sweep) == 2
    assert len(set(sweep)) == 1
    assert '"write_threshold"' not in sweep[0]  # it stands in the path
    assert '"gate_logit_penalty"' in sweep[0]
    more = presets.read(tmp_path, grids={"sweep": {"axes": {"mem_lambda": [0, 0.1, 0.3]}}})
    assert {k.values for b, k in schedule.read(more, "file", tmp_path / "kept").kinds.items() if "nema_lite" in b} == {
        sweep[0]
    }


def test_children_take_the_division_of_their_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(schedule.PACKS_VARIABLE, "")  # so that it is gone again afterwards, whatever sets it meanwhile
    monkeypatch.delenv(schedule.PACKS_VARIABLE)
    params = presets.read(tmp_path)
    with pytest.raises(DataError, match="PALIMPSEST_PACKS: not set; allowed: "):
        schedule.packs_from_parent(params)
    packs = schedule.read(params, "file", tmp_path).packs(params, lambda run: run.seed == 1)
    schedule.packs_for_children(packs, tmp_path)
    assert schedule.packs_from_parent(params) == packs
    other = params.model_copy(update={"seeds": (0,)})
    with pytest.raises(DataError, match=r"packs-.*: 'results/tiny/.*': no run of preset 'smoke'"):
        schedule.packs_from_parent(other)


def test_a_pack_asks_for_memory_by_its_size(tmp_path: Path) -> None:
    paper = read_params(presets.PROJECT / "params/paper.yaml")  # of which one experiment is counted in a second
    params = paper.model_copy(update={"experiments": {"nema_lite": paper.experiments["nema_lite"]}})
    found = schedule.read(params, "file", tmp_path)
    asked = {len(pack.runs): found.memory_mb(pack) for pack in found.packs(params, lambda run: False)}
    assert asked[max(asked)] > asked[min(asked)] > schedule.BASE_MB


def test_packs_of_unlimited_size_fill_the_memory_that_is_given(tmp_path: Path) -> None:
    params = presets.read(tmp_path)
    for memory, size in ((0.001, 1), (1000, 6)):
        packing = params.packing.model_copy(update={"axes": ("seed", "mem_lambda"), "memory_mb": memory})
        given = params.model_copy(update={"packing": packing})
        packs = schedule.read(given, "file", tmp_path / "kept").packs(given, lambda run: False)
        assert max(len(pack.runs) for pack in packs) == size
        assert all(isinstance(pack, plan.Pack) for pack in packs)
