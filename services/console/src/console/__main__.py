"""`python -m console serve | check`."""

from console import app
from runtime import commands

if __name__ == "__main__":
    commands.run(app.SERVICE, serve=app.serve, check=app.check)
