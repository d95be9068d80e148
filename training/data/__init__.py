"""Datasets, their public scaling, partitions over hospitals and splits for the audit."""
