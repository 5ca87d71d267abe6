"""The KV cache, split over device and host memory."""
