"""The stage graph and the runner that walks it."""
