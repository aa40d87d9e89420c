"""What is fuzzed: for each kind of untrusted input, a strategy and the functions that it is fed to."""
