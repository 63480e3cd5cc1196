"""The Doorstep server: check-ins at authorized locations without tracking anyone."""

__version__ = "0.1.0"
