"""`python -m gateway` is `opagate`."""

from gateway.surfaces.cli import main

if __name__ == "__main__":
    main()
