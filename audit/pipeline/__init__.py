"""Wiring: training, disclosure, attacks and scoring put together, and nothing computed here."""
