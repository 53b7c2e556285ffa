"""Tables, figures, numbers, notebooks and the paper; never trains, never computes a metric."""
