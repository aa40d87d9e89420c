"""timm networks and their weights."""
