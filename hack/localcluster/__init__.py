"""The local cluster and the image builds: what `hack/cluster` and `hack/images` run.

Standard library only, because it runs before any virtual environment exists: it is what makes a bare machine able to test
the operator at all.
"""
