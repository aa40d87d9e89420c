"""Networks by name, from anywhere, and their weights."""
