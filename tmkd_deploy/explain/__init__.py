"""Says why an engine is slow and where it lost accuracy."""
