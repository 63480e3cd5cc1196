"""What a server counts of itself, for `/metrics`: numbers under labels of closed sets."""

from doorstep_server.meters.meters import Meters as Meters
from doorstep_server.meters.sharing import shared_folder as shared_folder
from doorstep_server.meters.telling import MEDIA_TYPE as MEDIA_TYPE
