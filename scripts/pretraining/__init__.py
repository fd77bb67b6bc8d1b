"""Synthetic series and the training loop behind the embedded checkpoint."""
