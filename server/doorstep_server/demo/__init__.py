"""`doorstep demo`: made-up customers in São Paulo, and simulated phones that check in there.

`city`, `walking`, `receiver` and `phone` are the simulation: no network and no clock, chance comes
in as an argument. `stage`, `child`, `admin` and `crew` touch the world: a marked tenant, a server
process, the admin API and the phones, which know the server through the public SDK only. `play`
puts them together; `board` shows it.
"""
