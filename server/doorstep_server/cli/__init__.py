"""The `doorstep` command."""

from doorstep_server.cli.main import main

__all__ = ["main"]
