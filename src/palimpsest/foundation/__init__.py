"""What every other room stands on: errors, files, tensors, sections of parameters."""
