"""What every other room uses: errors, files, tensors, trees of tensors, sections of parameters."""
