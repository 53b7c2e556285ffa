"""What holds for every test: one thread, shapes checked at every call, property tests that repeat themselves in CI."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import hypothesis
from jaxtyping import install_import_hook

install_import_hook("palimpsest", "beartype.beartype")

hypothesis.settings.register_profile("local", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")
