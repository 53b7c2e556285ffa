"""What several models have in common; no model is in here."""
