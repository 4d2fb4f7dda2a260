"""A column of a law, in a module that workers can import."""


def saturating(x, tau):
    return 1 / (1 + x / tau)
