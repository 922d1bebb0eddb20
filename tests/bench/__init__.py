"""Speed, measured with real processes. Nothing here asserts a time."""
