"""`python -m tests.sim.run [--seed N | --seeds N] [--minutes N] [--kind model|cluster]`: many simulated runs.

Runs both worlds of transactions over several shards (`tests.sim.txn`), and says how to repeat what fails. Consensus
alone has `tests.sim.consensus.run`.
"""

import argparse
import sys
import time

from tests.sim.txn.run import Simulation

KINDS = ("model", "cluster")


def run(seed: int, kind: str) -> tuple[list[str], float, str]:
    """One run: what is wrong, simulated seconds, and what it was like."""
    simulation = Simulation(seed, is_cluster=kind == "cluster")
    problems = simulation.run()
    return problems, simulation.world.now_us / 1e6, f"{simulation.options}\n  {simulation.world.statistics}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, help="one run, told in more detail")
    parser.add_argument("--seeds", type=int, default=1000, help="how many runs of each kind")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after this")
    parser.add_argument("--kind", choices=KINDS)
    arguments = parser.parse_args()
    kinds = (arguments.kind,) if arguments.kind else KINDS
    first, count = (arguments.first, arguments.seeds) if arguments.seed is None else (arguments.seed, 1)
    ends_at = time.monotonic() + 60 * arguments.minutes
    seeds, seconds, failures = 0, 0.0, 0
    for seed in range(first, first + count):
        if time.monotonic() > ends_at:
            break
        for kind in kinds:
            problems, simulated, story = run(seed, kind)
            seeds, seconds, failures = seeds + 1, seconds + simulated, failures + bool(problems)
            if problems or arguments.seed is not None:
                print(f"{kind} {seed}: {problems[:3] or 'nothing wrong'}\n  {story}", flush=True)
            if problems:
                print(f"  repeat with: make sim SEED={seed} ARGS='--kind {kind}'", flush=True)
            if seeds % 100 == 0:
                print(f"{seeds} runs, up to seed {seed}; {failures} failed", flush=True)
    print(f"{seeds} runs, {seconds / 3600:.2f} simulated hours, {failures} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
