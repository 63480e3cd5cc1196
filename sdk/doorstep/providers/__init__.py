"""Where fixes come from: adapters from the frameworks of apps to `doorstep.LocationProvider`.

Each imports its framework when it is used, and none is a dependency of this package:

- `TogaProvider(app)`: BeeWare. With the native object of iOS, macOS and Android, accuracy, time and
  mock flag are those of the platform; Toga alone tells none of them.
- `FletProvider(geolocator)`: a `flet_geolocator.Geolocator` that the page has among its services.
- `PlyerProvider()`: Kivy, by `plyer.gps`.
- `CallbackProvider(position, permission)`: anything else, as two functions.
- `FakeProvider(...)`: routes and faults, for tests.

All pass one suite, `tests/sdk/test_providers.py`.
"""

from __future__ import annotations

from doorstep.providers._callback import CallbackProvider
from doorstep.providers._fake import FakeProvider
from doorstep.providers._flet import FletProvider
from doorstep.providers._plyer import PlyerProvider
from doorstep.providers._toga import TogaProvider

__all__ = ["CallbackProvider", "FakeProvider", "FletProvider", "PlyerProvider", "TogaProvider"]
