"""The time that a checkpoint costs a run, from the time of each step.

    python3 checkpoints.py RUN EVERY

RUN was trained with `track = [{ kind = "tensorboard" }]` and a checkpoint every EVERY steps, at least 6. A
step is logged before its checkpoint is saved, so that the cost is part of the first three steps after it, and not
of later ones. The total time of whole runs, with checkpoints or without, varies by more than that. Needs tensorboard.
"""

import statistics
import sys
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

run, every = Path(sys.argv[1]), int(sys.argv[2])
events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
events.Reload()
tag = next(it for it in events.Tags()["scalars"] if it.endswith("loss"))
times = {it.step: it.wall_time for it in events.Scalars(tag)}

after = [[] for _ in range(every)]
for step, time in times.items():
    if step - 1 in times:
        after[(step - 1) % every].append(time - times[step - 1])
plain = statistics.median(time for steps in after[3:] for time in steps)
cost = sum(statistics.median(steps) - plain for steps in after[:3])
print(f"a step {plain:.3f} s, a checkpoint {cost:.3f} s: {100 * cost / (every * plain):.2f} % of {every} steps")
