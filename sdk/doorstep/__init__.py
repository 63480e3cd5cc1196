"""Doorstep SDK."""
