"""`python -m KidneyTumorCascadeLib`: the command line."""

from KidneyTumorCascadeLib.cli import program

if __name__ == "__main__":
    program()
