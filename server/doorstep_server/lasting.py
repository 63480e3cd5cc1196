"""What lasts as long as the process is kept out of the search for garbage.

Python counts references, and now and then looks through everything there is for what refers only to
itself. In a server that is mostly code, routes and the sites of tenants: hundreds of thousands of
objects that stay, and a look through them stops all requests for a fifth of a second, every few
thousand check-ins.
"""

import gc

#: so many new objects before a look at them: a request has hundreds at a time, and nearly all are
#: gone by then without it
NEW_OBJECTS = 10_000


def set_apart() -> None:
    """From now on, look at none of what there is, and less often at what is new.

    For a process that serves, once it is made: what is garbage by now stays.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS, 10, 10)


def set_more_apart() -> None:
    """The same of what was loaded since; nothing in a process that set nothing apart.

    A snapshot refers to nothing that refers to it, so it goes when it is let go of, as ever.
    """
    if gc.get_freeze_count():
        # the newest garbage at least is not to stay with it
        gc.collect(1)
        gc.freeze()
