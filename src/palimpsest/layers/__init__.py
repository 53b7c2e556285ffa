"""Building blocks whose parameters and activations carry a leading axis of runs."""
