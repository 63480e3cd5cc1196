"""Doorstep server."""
