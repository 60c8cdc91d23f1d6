"""The synthetic shop: a rendered catalogue with known truth, deterministic by seed."""
