"""Ray Tune: the engine that runs trials, the trial itself, stopping."""
