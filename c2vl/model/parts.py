"""Our backbones, by their names."""

from c2vl.registry import register

register(
    "backbone",
    "stgcn",
    "c2vl.model.stgcn:STGCN",
    settings="c2vl.model.settings:STGCNSettings",
    help="ST-GCN (Yan et al., AAAI 2018) of the CrosSCLR/AimCLR lineage",
)
register(
    "backbone",
    "ctrgcn",
    "c2vl.model.ctrgcn:CTRGCN",
    settings="c2vl.model.settings:CTRGCNSettings",
    help="CTR-GCN (Chen et al., ICCV 2021): each channel refines the graph",
)
