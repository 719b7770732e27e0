"""Our augmentations and names of joints, by their names."""

from c2vl.registry import register

register(
    "joint_names",
    "mmm",
    {
        "BP": "spine1", "BT": "spine2", "BLN": "neck", "BUN": "head",
        "LS": "left_shoulder", "LE": "left_elbow", "LW": "left_wrist",
        "RS": "right_shoulder", "RE": "right_elbow", "RW": "right_wrist",
        "LH": "left_hip", "LK": "left_knee", "LA": "left_ankle", "LF": "left_foot",
        "RH": "right_hip", "RK": "right_knee", "RA": "right_ankle", "RF": "right_foot",
    },
    help="the Master Motor Map (KIT)",
)  # fmt: skip
register(
    "augmentation",
    "geometric",
    "c2vl.skeletons.augmentation:augment",
    settings="c2vl.skeletons.augmentation_settings:GeometricSettings",
    help="temporal crop, mirror, scale, rotation, shear, noise, masked joints",
)
register(
    "augmentation",
    "extreme",
    "c2vl.skeletons.extreme_augmentation:extreme",
    settings="c2vl.skeletons.augmentation_settings:ExtremeSettings",
    help="the geometric ones, stronger; reversed time, blur over time, masked axes (AimCLR)",
)
