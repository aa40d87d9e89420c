"""How many published models go from their name to an INT8 engine.

python -m benchmarks.reach --minutes 60
"""
