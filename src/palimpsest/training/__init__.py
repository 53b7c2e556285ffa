"""One training loop for every model and every size of pack."""
