"""What a validation figure held out, in the same words wherever one is shown."""


def held_out(pretrain_on_validation: bool, uses_labels: bool) -> str:
    """Say what a validation figure is measured on, and what training saw of it.

    Args:
        pretrain_on_validation: the setting of this name.
        uses_labels: training reads labels.
    """
    probe = "a probe that is fitted on the labels of the others"
    if not pretrain_on_validation:
        return (
            f"Validation: the first fold of the training part, scored by {probe}. Training saw "
            "nothing of this fold, and nothing of the test part."
        )
    saw = "motions and labels" if uses_labels else "motions, not the labels,"
    return (
        f"Validation: folds of the training part, each scored by {probe}. Training saw the {saw} "
        "of all folds, and nothing of the test part."
    )
