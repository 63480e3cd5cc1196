"""A small Kivy app: enroll with a code, check in, see the answer."""
