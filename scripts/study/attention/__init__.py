"""Where attention goes: over time, and across groups."""
