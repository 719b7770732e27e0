"""The files of `ray up`, read as Ray reads them before it calls a cloud."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

RECIPES = Path(__file__).parents[3] / "cluster" / "ray_up"


@pytest.mark.parametrize("name", ["aws", "gcp", "on_prem"])
def test_ray_reads_it(name: str) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(yaml.safe_load((RECIPES / f"{name}.yaml").read_text()))
    validate_config(config)
    starts = config["head_start_ray_commands"] + config["worker_start_ray_commands"]
    assert all("RAY_AUTH_MODE=token" in line for line in starts if "ray start" in line)
    assert config["file_mounts"] == {"~/.ray/auth_token": "~/.ray/auth_token"}
    if name != "on_prem":
        head = config["available_node_types"][config["head_node_type"]]
        assert head["resources"] == {"CPU": 0}
        assert config["available_node_types"]["gpu"]["min_workers"] == 0


def test_a_misspelt_key_is_refused() -> None:
    from jsonschema import ValidationError
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load((RECIPES / "aws.yaml").read_text()) | {"max_worker": 3}
    with pytest.raises(ValidationError, match="max_worker"):
        validate_config(prepare_config(config))
