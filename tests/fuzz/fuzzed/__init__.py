"""What is fuzzed: for each kind of untrusted input, a strategy and what it is fed to."""
