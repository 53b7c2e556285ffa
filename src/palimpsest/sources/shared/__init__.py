"""What manifests are made of: the types of a source, its figures, its tables and its looks, and their checks."""
