"""Transfer."""


def write(workdir):
    return ""
