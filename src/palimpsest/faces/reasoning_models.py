"""Models of source 004 for reasoning, under the names that their module has there."""

from palimpsest.faces.knowledge_graph import KnowledgeGraphModel as KnowledgeGraphModel
from palimpsest.faces.reasoning_network import ReasoningNetwork as ReasoningNetwork
from palimpsest.faces.temporal_models import TemporalMemoryModel as TemporalMemoryModel
