"""`python -m ledger serve | check | migrate | rebuild`."""

from ledger import app
from runtime import commands

if __name__ == "__main__":
    commands.run(
        app.SERVICE,
        serve=app.serve,
        check=app.check,
        migrate=app.migrate,
        extra={"rebuild": app.rebuild},
    )
