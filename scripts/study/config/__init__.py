"""What the configuration says, checked: the repository's `config/` as plain values."""
