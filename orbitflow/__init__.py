"""OrbitFlow: which KV stays in GPU memory and which is streamed from the host, under latency SLOs.

One policy core, two drivers: a simulator with a virtual clock and a torch backend with a real one.
"""

__version__ = "0.1.0"
