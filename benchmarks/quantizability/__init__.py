"""How well student families quantize to INT8: accuracy, latency, and layers built in INT8.

python -m benchmarks.quantizability
"""
