"""Releases: one version everywhere, the changelog, the packaged chart, bills of material."""
