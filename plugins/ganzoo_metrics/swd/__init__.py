"""The sliced Wasserstein distance. Read `swd` first."""
