"""`python -m doorstep_server` is the `doorstep` command."""

from doorstep_server.cli import main

main(prog_name="doorstep")
