"""Write recordings of a made-up sensor: `python record.py FOLDER`.

Five people wave and clap, six times each: text files `wave_3_0.txt` (class, subject, take), a frame
a line, with x, y, z of three joints in metres.
"""

import sys
from pathlib import Path

import numpy as np

folder, draw = Path(sys.argv[1]), np.random.default_rng(0)
folder.mkdir(parents=True)
for subject in range(5):
    for take in range(6):
        for name, side in (("wave", 1.0), ("clap", -1.0)):
            phase = np.linspace(0, 4 * np.pi, 40) + draw.uniform(0, 2 * np.pi)
            frames = np.tile([0, 1.4, 0, 0.4, 1.4, 0.1, -0.4, 1.4, 0.1], (40, 1))
            frames[:, 3] += 0.2 * np.sin(phase)
            frames[:, 6] += side * 0.2 * np.sin(phase)  # together, or against each other
            frames += draw.normal(0, 0.01, frames.shape)
            np.savetxt(folder / f"{name}_{subject}_{take}.txt", frames, "%.4f")
