"""``python -m harness.cli``: how the harness starts its own children."""

from harness.cli.main import main

if __name__ == "__main__":
    main()
