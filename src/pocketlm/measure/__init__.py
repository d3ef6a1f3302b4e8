"""What a Pocket costs and reaches: bytes, latency, memory, quality, each with how it was taken."""
