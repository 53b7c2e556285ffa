"""Files of a preset: merged over the sources, and refused in one line where two of them disagree."""

import shutil
from pathlib import Path

import pytest
import yaml

from palimpsest import sources
from palimpsest.analysis.claim_file import read_claims
from palimpsest.analysis.published import read_published
from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import read_yaml
from palimpsest.planning.departures import with_one_set_of_seeds
from palimpsest.planning.presets import file_of, read_content, read_params, read_whole
from tests.training.presets import PROJECT


@pytest.fixture
def params(tmp_path: Path) -> Path:
    """A copy of the project's parameters."""
    return Path(shutil.copytree(PROJECT / "params", tmp_path / "params"))


def edit(file: Path, content: dict) -> None:
    file.write_text(yaml.safe_dump(content), encoding="utf-8")


def test_every_source_has_a_file_of_its_own_in_every_complete_preset() -> None:
    for preset in ("default", "smoke", "paper"):
        assert {file.stem for file in (PROJECT / "params" / preset).glob("*.yaml")} == set(sources.names())


def test_experiments_come_in_the_order_of_their_sources() -> None:
    found = [sources.source_of(name) for name in read_whole(PROJECT / "params/default.yaml").experiments]
    assert list(dict.fromkeys(found)) == list(sources.manifests())


def test_an_overlay_changes_what_it_names_and_keeps_the_rest(params: Path) -> None:
    overlay = {"experiments": {"mqar": {"tracks": {"repaired": {"training": {"num_epochs": 7}}}}}}
    edit(params / "smoke/memory_library.yaml", overlay)
    before = with_one_set_of_seeds(read_content(params / "default.yaml"))  # the overlay gives seeds
    after = read_content(params / "smoke.yaml")
    changed = after["experiments"]["mqar"]["tracks"]["repaired"]["training"]
    assert changed == before["experiments"]["mqar"]["tracks"]["repaired"]["training"] | {"num_epochs": 7}
    assert after["experiments"]["repeat_copy"] == before["experiments"]["repeat_copy"]


def test_an_omitted_experiment_stays_in_its_file_and_in_presets_that_extend_this_one(params: Path) -> None:
    edit(params / "default.yaml", read_yaml(params / "default.yaml") | {"omit": ["mqar"]})
    assert "mqar" not in read_params(params / "default.yaml").experiments
    assert "mqar" in read_whole(params / "default.yaml").experiments
    assert "mqar" in read_params(params / "smoke.yaml").experiments
    kept = read_yaml(params / "smoke.yaml")
    del kept["omit"]
    edit(params / "smoke.yaml", kept)
    assert "mqar" not in read_params(params / "smoke.yaml").experiments


def test_a_mistake_in_an_omitted_experiment_is_found(params: Path) -> None:
    edit(params / "default.yaml", read_yaml(params / "default.yaml") | {"omit": ["mqar"]})
    content = read_yaml(params / "default/memory_library.yaml")
    content["experiments"]["mqar"]["tracks"]["repaired"]["training"]["num_epochs"] = "many"
    edit(params / "default/memory_library.yaml", content)
    with pytest.raises(ParameterError, match=r"experiments.mqar.*num_epochs: 'many'"):
        read_params(params / "default.yaml")


def test_only_the_default_preset_omits_experiments(params: Path) -> None:
    assert read_whole(params / "default.yaml").omit
    for preset in ("smoke", "paper"):
        assert read_params(params / f"{preset}.yaml") == read_whole(params / f"{preset}.yaml")


def test_without_the_files_of_a_source_the_rest_is_a_preset(params: Path) -> None:
    edit(params / "default.yaml", read_yaml(params / "default.yaml") | {"omit": []})
    for folder in ("default", "smoke", "paper"):
        (params / folder / "memory_library.yaml").unlink()
    for preset in ("default", "smoke", "paper"):
        found = read_params(params / f"{preset}.yaml").experiments
        assert {sources.source_of(name) for name in found} == set(sources.names()) - {"memory_library"}


def test_an_experiment_of_another_source_is_one_line(params: Path) -> None:
    file = params / "default/nema_lite.yaml"
    edit(file, {"experiments": {"copy": {}}})
    message = rf"^{file}: experiments: 'copy' is not in src/palimpsest/sources/nema_lite.py; allowed: nema_lite$"
    with pytest.raises(ParameterError, match=message):
        read_params(params / "default.yaml")


def test_an_experiment_that_no_manifest_lists_is_read_from_the_file_of_any_source(params: Path) -> None:
    file = params / "default/nema_lite.yaml"
    own = read_yaml(file)
    edit(file, {"experiments": {**own["experiments"], "another": own["experiments"]["nema_lite"]}})
    found = read_params(params / "default.yaml").experiments
    assert found["another"] == found["nema_lite"]
    assert sources.source_of("another") is None
    assert sources.experiment_of("another").figures == ()


def test_an_experiment_that_two_files_give_is_one_line(params: Path) -> None:
    own = read_yaml(params / "default/nema_lite.yaml")
    edit(params / "default.yaml", read_yaml(params / "default.yaml") | own)
    message = r"default/nema_lite.yaml: experiments: 'nema_lite' is also in .*default.yaml; allowed: one file$"
    with pytest.raises(ParameterError, match=message):
        read_params(params / "default.yaml")


def test_a_file_of_no_source_is_one_line(params: Path) -> None:
    edit(params / "default/somebody.yaml", {"experiments": {}})
    with pytest.raises(ParameterError, match=r"somebody.yaml: 'somebody' is no source; allowed: [^\n]*nema_lc"):
        read_params(params / "default.yaml")


def test_another_key_in_a_file_of_a_source_is_one_line(params: Path) -> None:
    edit(params / "default/nema_lite.yaml", {"seeds": [1]})
    with pytest.raises(ParameterError, match=r"nema_lite.yaml: seeds: \[1\]; allowed: a mapping below experiments$"):
        read_params(params / "default.yaml")


def test_a_wrong_value_is_reported_with_the_file_of_its_source(params: Path) -> None:
    content = read_yaml(params / "default/nema_lite.yaml")
    content["experiments"]["nema_lite"]["tracks"]["repaired"]["training"]["num_epochs"] = "many"
    edit(params / "default/nema_lite.yaml", content)
    with pytest.raises(ParameterError, match=r"/default/nema_lite.yaml: experiments.nema_lite.*num_epochs: 'many'"):
        read_params(params / "default.yaml")
    assert file_of(params / "default.yaml", "somebody_elses") == params / "default.yaml"


class TestClaims:
    def test_a_claim_that_two_files_make_is_one_line(self, params: Path) -> None:
        shutil.copy(params / "claims/nema_lite.yaml", params / "claims/nema_lc.yaml")
        with pytest.raises(ParameterError, match=r"nema_lc.yaml: groups: '\w+' is also in .*nema_lite.yaml"):
            read_claims(params / "claims")

    def test_a_claim_of_another_source_is_one_line(self, params: Path) -> None:
        (params / "claims/nema_lite.yaml").rename(params / "claims/memory_library.yaml")
        with pytest.raises(ParameterError, match=r"memory_library.yaml: claims.000-a.source: '000'; allowed: 004$"):
            read_claims(params / "claims")

    def test_a_claim_on_an_experiment_that_its_source_does_not_have_is_one_line(self, params: Path) -> None:
        file = params / "claims/nema_lite.yaml"
        content = read_yaml(file)
        content["claims"]["000-a"]["experiment"] = "mqar"
        edit(file, content)
        with pytest.raises(ParameterError, match=rf"^{file}: claims.000-a.experiment: 'mqar'; allowed: nema_lite$"):
            read_claims(params / "claims")


def test_published_numbers_of_another_source_are_one_line(params: Path) -> None:
    (params / "published/nema_lite.yaml").rename(params / "published/memory_library.yaml")
    with pytest.raises(ParameterError, match=r"memory_library.yaml: experiments: 'nema_lite' is not in"):
        read_published(params / "published")
