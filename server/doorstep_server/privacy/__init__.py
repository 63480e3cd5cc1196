"""What may be kept about a person, and in which form. Pure: no I/O, no clock.

`minimize` is where a fix ends: everything behind it has no slot for a coordinate.
"""
