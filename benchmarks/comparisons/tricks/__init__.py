"""What might still help, each in one file; see `TRICKS` in the protocol."""
