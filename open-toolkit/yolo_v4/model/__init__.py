"""The network: a plain graph of layers, its construction, its torch form and the meaning of its outputs."""
