"""`python -m router serve | check`."""

from router import app
from runtime import commands

if __name__ == "__main__":
    commands.run(app.SERVICE, serve=app.serve, check=app.check)
