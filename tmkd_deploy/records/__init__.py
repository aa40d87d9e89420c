"""What stages record: typed, frozen, free of torch."""
