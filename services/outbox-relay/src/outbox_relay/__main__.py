"""`python -m outbox_relay serve | check`."""

from outbox_relay import app
from runtime import commands

if __name__ == "__main__":
    commands.run(app.SERVICE, serve=app.serve, check=app.check)
