"""The access vault: when the API was used, and from which IP address. Off unless a file is named.

Brazil's Marco Civil da Internet (Lei 12.965/2014) makes providers of applications keep that for six
months (Article 15), and forbids what exceeds it (Article 16). So this is the only place where an
address is kept, and nothing else is kept in it: no person, no device, no tenant, no route. Each day
is sealed under a key of its own, and deleted when its time is over; whoever reads has to say why,
and is written down.
"""

from doorstep_server.access_vault.entries import Access, Entry, Reading
from doorstep_server.access_vault.key import VaultUnusable
from doorstep_server.access_vault.recorder import Recorder
from doorstep_server.access_vault.vault import AccessVault, open_vault

__all__ = ["Access", "AccessVault", "Entry", "Reading", "Recorder", "VaultUnusable", "open_vault"]
