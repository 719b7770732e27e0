"""The sweep file: settings, space, constraints. Opens no database, imports no Optuna."""
