"""Where Doorstep keeps what it keeps, besides the columns of the data map.

A test fails on a file in the home, a function or a statistic in the database, that is not here.
"""

#: files in the home, and what is in them; with DOORSTEP_DATABASE_URL the database is elsewhere
FILES = {
    "doorstep.db": "the database",
    "doorstep.db-wal": "the newest changes of the database, until they are moved into it",
    "doorstep.db-shm": "where in the file of the newest changes each page of the database is",
    "doorstep.db.part": "a backup while it is put back",
    "doorstep.db.part-wal": "the newest changes of that",
    "doorstep.db.part-shm": "where in the file of the newest changes each page of that is",
    "keyring.db": "the keyring",
    "keyring.db-journal": "pages of the keyring as they were, while it is being changed",
    "keyring.root": "the secret without which nothing in the keyring can be read",
    "demo-server.log": "what the demo's server logs",
}

#: functions in the database (PostgreSQL), and what they may do with the owner's rights
FUNCTIONS = {
    "doorstep_make_partitions(date,date)": "make the tables for the weeks that check-ins expire in",
    "doorstep_drop_expired(date)": "drop the tables in which every check-in has expired",
    "doorstep_analyze_sites()": "renew the statistics of sites",
    "doorstep_rewritable(date[])": "name the tables that may hold bytes of a person who was erased",
    "doorstep_rewrite(text)": "write a table anew, so that nothing deleted is left in its files",
    "doorstep_mix(date)": "write a day's check-ins anew, so that none shows which it came with",
    "doorstep_oldest_wal()": "say since when deleted rows may still be in the write-ahead log",
}

#: what SQLite has for itself: numbers that we set, and none that says something about a row
STATISTICS = {
    "sqlite_stat1.tbl": "of which table something is said",
    "sqlite_stat1.idx": "and of which index",
    "sqlite_stat1.stat": "how many rows to expect",
}
