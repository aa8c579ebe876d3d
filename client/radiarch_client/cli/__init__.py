"""The `radiarch` command line; what it does to a server goes through the client's public interface."""

from ._main import main

__all__ = ["main"]
