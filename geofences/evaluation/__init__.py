"""How often the rule of `judge` is wrong, beside the rules of others: see README.md."""
