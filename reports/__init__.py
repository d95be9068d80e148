"""Displays what was measured; computes nothing."""
