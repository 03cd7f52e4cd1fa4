"""Removing channels whose kernels are small."""
