"""Products that look real, made once."""

from pathlib import Path

import pytest

from palimpsest.planning.parameters import Params
from palimpsest.rendering import bench, checks, numbers, tables
from tests.bench import made_up
from tests.rendering import fake

PROJECT = fake.PROJECT
CLAIMS = PROJECT / "params/claims"
PUBLISHED = PROJECT / "params/published"


@pytest.fixture(scope="session")
def preset() -> Params:
    """Three seeds, both tracks."""
    return fake.params()


@pytest.fixture(scope="session")
def products(tmp_path_factory: pytest.TempPathFactory, preset: Params) -> Path:
    """A product directory with everything that rendering reads, its tables and its numbers; not to be changed."""
    root = tmp_path_factory.mktemp("products")
    fake.write(root, preset)
    tables.write_tables(preset, root, claims=CLAIMS, published=PUBLISHED)
    numbers.write_numbers(preset, root, published=PUBLISHED)
    bench.write_bench(made_up.write(tmp_path_factory.mktemp("measured")), root)
    checks.write_checks(tmp_path_factory.mktemp("not run"), root)
    return root
