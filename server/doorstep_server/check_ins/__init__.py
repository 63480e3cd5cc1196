"""The way of a check-in: claim, judge, minimize, journal, answer. `flow` shows it whole."""
