"""Federated training with DP-SGD and secure aggregation. It records; it does not measure."""

from training.quiet import silence

silence()
