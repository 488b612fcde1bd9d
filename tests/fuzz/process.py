"""One target under atheris: `python process.py TARGET ARGUMENTS-OF-LIBFUZZER`."""

import sys

import atheris  # installed by run.py, in the cache

with atheris.instrument_imports(include=["rules", "contracts", "router"]):
    import fuzzing


def main() -> None:
    target = sys.argv.pop(1)
    atheris.Setup(sys.argv, lambda data: fuzzing.run(target, data))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
