"""A small BeeWare app: enroll with a code, check in, see the answer."""
