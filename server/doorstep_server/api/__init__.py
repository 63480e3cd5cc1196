"""The HTTP contract, a module per noun. Handlers decode, call, and answer; they decide nothing."""
