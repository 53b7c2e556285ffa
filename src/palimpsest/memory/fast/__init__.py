"""Passes over whole sequences with gradients by hand, each equal to the step of its memory."""
