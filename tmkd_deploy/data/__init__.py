"""Sources of images, decoded and checked once."""
