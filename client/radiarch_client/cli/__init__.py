"""The `radiarch` command line."""
