"""Time and memory: of a study, of the engine, of the probe, and by scale."""
