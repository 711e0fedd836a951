"""The node over DDS against the bare session: age at the subscriber, frames answered, processor, memory.

Every node gets cameras of its own process; before and after it the network alone is timed. The
parts: `grid` picture sizes, encodings, cameras and rates; `heads` fp32 and int8, labels alone and
with the mask; `qos` reliable cameras; `growth` more sizes, cameras and rates for the plots; `fair`
four cameras that ask for more than the processor has.
"""

from itertools import product

from harness import Bare, Case, Graph, Log, arguments, automatic_precision, transport_ms
from model import Model

Plan = dict[Case, dict[float, float]]
SIZES = [(640, 480), (1280, 720)]
PARTS = ["grid", "heads", "qos", "growth", "fair"]


def plan(model: Model, precision: str, parts: list[str], seconds: float) -> Plan:
    """Which node runs at which rates, Hz, and for how long, s."""
    heads = ("labels", "mask") if model.segmentation else ("labels",)
    usual = {"model": model.name, "precision": precision, "outputs": heads}
    longer = seconds * 4 / 3
    runs: Plan = {}

    def add(case: Case, rates: dict[float, float]) -> None:
        runs[case] = runs.get(case, {}) | rates

    if "grid" in parts:
        for (width, height), cameras, encoding in product(SIZES, (1, 4), ("bgr8", "yuyv", "jpeg")):
            case = Case(**usual, width=width, height=height, encoding=encoding, cameras=cameras)
            add(case, {5.0: longer, 30.0: seconds, 60.0: seconds})
    if "fair" in parts:
        add(Case(**usual, cameras=4), {30.0: 3 * seconds})
    if "growth" in parts:
        add(Case(**usual), {5.0: longer, 15.0: seconds, 30.0: seconds, 60.0: seconds})
        add(Case(**usual, cameras=2), {5.0: longer})
        add(Case(**usual, cameras=4), {5.0: longer})
        for width, height in [(320, 240), *SIZES, (1920, 1080)]:
            add(Case(**usual, width=width, height=height), {5.0: longer})
    if "heads" in parts:
        for outputs, each in product([heads, ("labels",)], model.precisions()):
            add(Case(**(usual | {"precision": each, "outputs": outputs})), {5.0: longer, 30.0: seconds})
    if "qos" in parts:
        add(Case(**usual, reliability="reliable"), {30.0: seconds})
    # Nodes of the same network follow each other: the bare session between them serves both.
    return dict(sorted(runs.items(), key=lambda item: (item[0].precision, item[0].outputs, item[0].width)))


def main() -> None:
    parser = arguments(__doc__, rounds=3)
    parser.add_argument("--model", default="squeezenet1_1_street")
    parser.add_argument("--precision", default="auto", help="of the grid; auto takes what the node would")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--seconds", type=float, default=3.0, help="of a run, 3")
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.seconds = 1, 1.5
        args.parts = ["heads", "fair"] if args.parts == PARTS else args.parts
    model = Model(args.model)
    precision = automatic_precision(model) if args.precision == "auto" else args.precision
    log = Log("node", vars(args) | {"precision": precision})
    bare = Bare(log, frames=15 if args.quick else 30)
    for number in range(args.rounds):
        for width, height in SIZES:
            case = Case(model.name, precision, width=width, height=height)
            log.write("transport", {"round": number, **transport_ms(case, seconds=1.0)})
        for case, rates in plan(model, precision, args.parts, args.seconds).items():
            before = bare.p50(case, is_new=False)
            with Graph(case) as graph:
                records = [graph.measure(rate, seconds) for rate, seconds in rates.items()]
            alone = (before + bare.p50(case)) / 2
            for record in records:
                log.write("run", {"round": number, "bare_p50": alone, **record})
                print(
                    f"{number + 1}/{args.rounds} {case.precision} {'+'.join(case.outputs):<11}"
                    f" {case.width}x{case.height} {case.encoding:<4} {case.cameras} x {record['rate']:>2.0f} Hz"
                    f" {case.reliability:<11} {record['answered']:>4}/{record['sent']:<4} age p50"
                    f" {record['age_p50']:>6.1f} p99 {record['age_p99']:>6.1f} bare {alone:>5.1f} ms, CPU"
                    f" {record['cpu_ms_per_frame']:>5.1f} ms/frame, {record['rss_mb']:.0f} MB", flush=True,
                )
    log.end()


if __name__ == "__main__":
    main()
