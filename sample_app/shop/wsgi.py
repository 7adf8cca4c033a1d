"""The web application: `gunicorn shop.wsgi`."""

import os

from django.core.wsgi import get_wsgi_application

from shop.celery import app

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")

# Web processes send tasks and wait for no result. With a result backend each message would also subscribe
# to its result, on a connection that nobody reads and that a request waits for when Redis is away.
app.backend_cls = "disabled://"

application = get_wsgi_application()
