"""Models of source 004 for reasoning, under the name that its module has there."""

from palimpsest.faces.temporal_models import TemporalMemoryModel as TemporalMemoryModel
