"""A worker group whose controller was killed gives its CPUs back."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from c2vl.training.launch import GROUP, release
from sweeps.resources import cluster

pytestmark = [pytest.mark.ray, pytest.mark.faults]


def test_what_a_killed_group_held_is_given_back(tmp_path: Path) -> None:
    import ray
    from ray.util import placement_group

    @ray.remote(num_cpus=0)
    class Controller:
        """Holds both CPUs, as a Train controller does, and is killed with Ray's cleaner gone."""

        def hold(self) -> str:
            self.group = placement_group([{"CPU": 1}] * 2)
            ray.get(self.group.ready())
            return str(self.group.id.hex())

    with cluster("local", cpus=2):
        controller = Controller.remote()
        held = ray.get(controller.hold.remote())
        (tmp_path / GROUP).write_text(held)
        ray.kill(controller)
        time.sleep(2)
        assert ray.available_resources().get("CPU", 0) == 0  # the leak, without our help
        release(tmp_path)
        deadline = time.monotonic() + 30
        while ray.available_resources().get("CPU", 0) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert not (tmp_path / GROUP).exists()
        release(tmp_path)  # nothing more to do
        (tmp_path / GROUP).write_text(held)  # nor where the group is gone, as after a resume
        release(tmp_path)
        (tmp_path / GROUP).write_text("ab" * (len(held) // 2))  # nor on another cluster
        release(tmp_path)
