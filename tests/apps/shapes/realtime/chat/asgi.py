import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chat.settings")
http = get_asgi_application()

# Consumers may use models, which are there once Django is set up.
from chat.consumers import Echo  # noqa: E402 - Django is set up first, 2026-11-30

application = ProtocolTypeRouter({"http": http, "websocket": URLRouter([path("ws/echo/", Echo.as_asgi())])})
