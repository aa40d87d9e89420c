"""How well student families take INT8: accuracy, latency and what the builder makes of them.

python -m benchmarks.quantizability
"""
