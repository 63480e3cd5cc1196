"""`python -m toga_visit`."""

import os

from doorstep import AsyncClient
from toga_visit.app import VisitApp

url = os.environ.get("DOORSTEP_URL", "http://127.0.0.1:8000")
VisitApp("Visits", "org.example.visits", client=AsyncClient(url)).main_loop()
