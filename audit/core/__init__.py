"""Shared types: what every other package may know, and nothing that needs torch or Flower."""
