"""``python -m radiarch_client`` is the `radiarch` command."""

from .cli import main

if __name__ == "__main__":
    main()
