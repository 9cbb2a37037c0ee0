"""The app for another ASGI server than `pestle serve`: ``uvicorn server.asgi:app``."""

from __future__ import annotations

import os

from server.app import create_app
from server.configuration import load_settings

app = create_app(load_settings(os.environ.get("PARSE_SERVER_CONFIG"), os.environ, {}))
