"""Commands. The top layer: it may see everything, and nothing sees it. Heavy imports wait until they are needed."""
