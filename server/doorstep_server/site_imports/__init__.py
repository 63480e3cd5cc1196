"""Taking sites from files: read and checked first, then all of them written at once, or none.

    file → `reading`: features, checked → `spool`: kept in a temporary file → `looking`: what would
    become of them, and what they overlap → `taking`: one transaction → `report`

Whatever takes long comes before the transaction that writes, so that check-ins go on meanwhile.
"""
