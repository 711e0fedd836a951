"""How the benchmarks' plots look."""

from types import ModuleType


def pyplot() -> ModuleType:
    """Matplotlib's, for SVG files that are the same bytes for the same figures."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "squeezenet_node", "font.size": 9, "svg.fonttype": "none"})
    from matplotlib import pyplot

    return pyplot
