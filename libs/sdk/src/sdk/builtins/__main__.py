"""`python -m sdk.builtins serve | check`: a worker of the catalogue's built-in handlers."""

from runtime import commands
from sdk.builtins import serving

if __name__ == "__main__":
    commands.run("sdk.builtins", serve=serving.serve, check=serving.check)
