"""Many experiments: Ray Tune runs them, Optuna proposes them, MLflow remembers them."""
