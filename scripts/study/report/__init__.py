"""Figures and pages, from tables to matplotlib and HTML."""
