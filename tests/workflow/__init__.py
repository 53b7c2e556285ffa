"""The real Snakefile and the real dvc.yaml, at work in copies of the project."""
