"""Windows and batches of a study, and the files of its forecasts."""
