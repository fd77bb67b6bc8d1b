"""Scores of forecasts, paired tests, and the gates on a study's validity."""
