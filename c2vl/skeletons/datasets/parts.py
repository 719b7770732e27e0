"""Our datasets, by their names."""

from c2vl.registry import register

_NTU = "the folder of the .skeleton files, or of the official zip archives"
_PKUMMD = "the folder that holds the skeleton, label and split files, or zip archives of them"
_TEXTS = "the folder that holds new_joints/, texts/ and the lists of ids"
for _name, _target, _expects in (
    ("ntu60", "datasets.ntu:NTU60", _NTU),
    ("ntu120", "datasets.ntu:NTU120", _NTU),
    ("pkummd1", "datasets.pkummd:PKUMMD1", _PKUMMD),
    ("pkummd2", "datasets.pkummd:PKUMMD2", _PKUMMD),
    ("utd-mhad", "datasets.utd_mhad:UTD_MHAD", "the folder that holds Skeleton/, or a zip of it"),
    (
        "nw-ucla",
        "datasets.nw_ucla:NW_UCLA",
        "the folder of the JSON files, or a zip of it (all_sqe.zip)",
    ),
    (
        "arrays",
        "datasets.arrays:ARRAYS",
        "AimCLR's folder of .npy files, CTR-GCN's .npz or PYSKL's .pkl",
    ),
    (
        "folder",
        "datasets.folder:FOLDER",
        "a folder of arrays or texts with sequences.csv and layout.yaml (c2vl data init), or a zip",
    ),
    (
        "bvh",
        "datasets.bvh:BVH",
        "a folder of .bvh files, with sequences.csv where classes are known, or a zip of it",
    ),
    (
        "keypoints",
        "datasets.keypoints:KEYPOINTS",
        "a folder of JSON files of OpenPose, COCO or MediaPipe keypoints, or a zip of it",
    ),
    ("humanml3d", "datasets.text_motion:HUMANML3D", _TEXTS),
    ("kit-ml", "datasets.text_motion:KIT_ML", _TEXTS),
    ("demo", "demo.reader:DEMO", _NTU),
):
    register("dataset", _name, f"c2vl.skeletons.{_target}", help=_expects)
