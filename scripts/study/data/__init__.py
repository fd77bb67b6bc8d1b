"""Data sets and checkpoints: fetched, checked and brought to one layout."""
