"""The pages, by what they are about. Each is a few calls of the API and a template."""
